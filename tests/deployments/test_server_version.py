"""A Prefect server that is older than what prefect-cvat was tried with: one line says so."""

import json
from importlib.metadata import version

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_cvat.deployments.prefect_server import check_server_version
from scripted_server import Answer, scripted_server


@pytest.fixture
def lines_of():
    """The lines about a server of a version."""

    def lines(server_version: str) -> list[str]:
        answer = Answer(body=json.dumps(server_version).encode())
        with (
            scripted_server(answer) as server,
            temporary_settings({PREFECT_API_URL: f"{server.url}/api"}),
        ):
            return list(check_server_version())

    return lines


@pytest.mark.parametrize("old", ["3.6.29", "3.7.0rc1", "2.20.27"])
def test_older_server_is_named_with_the_remedy(lines_of, old):
    [line] = lines_of(old)
    assert f"is {old}, prefect-cvat needs prefect<4,>=3." in line
    assert "prefect server database upgrade" in line
    assert "\n" not in line


@pytest.mark.parametrize("tried", [version("prefect"), "3.99.0+local.1", "3.10.0.dev3"])
def test_server_in_the_range_is_not_mentioned(lines_of, tried):
    assert lines_of(tried) == []


def test_the_server_of_these_tests_is_not_mentioned(prefect_server):
    assert list(check_server_version()) == []
