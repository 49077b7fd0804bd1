"""What the tests of the flows share: a way to log in that Prefect knows."""

import pytest
from pydantic import SecretStr

from prefect_cvat.credentials import CvatCredentials


@pytest.fixture
def credentials(prefect_server, sandbox) -> CvatCredentials:
    CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)).save(
        "test", overwrite=True
    )
    return CvatCredentials.load("test")
