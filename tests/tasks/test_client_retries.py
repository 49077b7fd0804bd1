"""How soon Prefect's client sends a request again, on a real HTTP server."""

import time
from itertools import pairwise

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from loopback_server import LoopbackHandler, loopback_server
from prefect_cvat.tasks.client_retries import ask_busy_server_again_soon, client_retries

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


def ask(path, answers, *, headers=()):
    """Send a request with the client; return the seconds between those that arrived."""
    asked = []

    class Answers(LoopbackHandler):
        def do_GET(self):  # noqa: N802
            asked.append(time.monotonic())
            self.send_response(answers[len(asked) - 1])
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with (
        loopback_server(Answers) as url,
        temporary_settings({PREFECT_API_URL: url}),
        client_retries(3),
        get_client(sync_client=True) as client,
    ):
        ask_busy_server_again_soon(client)
        ask_busy_server_again_soon(client)  # as several parts of a flow do
        if answers[-1] == 200:
            client.request("GET", path)
        else:
            with pytest.raises(httpx.HTTPStatusError, match=str(answers[-1])):
                client.request("GET", path)
    assert len(asked) == len(answers)
    return [after - before for before, after in pairwise(asked)]


def test_busy_server_is_asked_again_soon():
    assert sum(ask("/hello", [503, 503, 503, 200])) < 2.0


def test_soon_attempts_are_not_counted(monkeypatch):
    monkeypatch.setattr("prefect_cvat.tasks.client_retries.BUSY_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr("prefect.client.base.time.sleep", lambda _: None)
    ask("/hello", [*[503] * (3 + 3), 200])
    ask("/hello", [*[503] * (3 + 3 + 1)])


@pytest.mark.parametrize(("status", "headers"), [(429, ()), (503, (("Retry-After", "2"),))])
def test_other_answers_are_waited_for_as_usual(status, headers):
    [seconds] = ask("/hello", [status, 200], headers=headers)
    assert seconds > 1.0


@pytest.mark.parametrize("status", [404, 423])
def test_answers_that_are_not_to_be_asked_for_again(status):
    assert ask("/hello", [status]) == []
