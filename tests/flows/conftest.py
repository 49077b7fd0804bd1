"""One Prefect server for all tests of flows: it takes some 15 seconds to start."""

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    with (
        prefect_test_harness(server_startup_timeout=180),
        temporary_settings(
            {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}  # its thread takes a second at the end of each flow run
        ),
    ):
        yield
