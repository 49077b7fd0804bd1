"""How soon Prefect's client sends a request again, on a real HTTP server."""

import time
from itertools import pairwise
from types import SimpleNamespace

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from loopback_server import LoopbackHandler, loopback_server
from prefect_cvat.tasks.client_retries import (
    BUSY_SECONDS,
    OUTAGE_SECONDS,
    ask_busy_server_again_soon,
    client_retries,
)

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


def ask(path, answers, *, headers=(), retries=3):
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
        client_retries(retries),
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
    waited = []
    monkeypatch.setattr("prefect.client.base.time", SimpleNamespace(sleep=waited.append))
    ask("/hello", [*[503] * (len(BUSY_SECONDS) + 3), 200])
    ask("/hello", [*[503] * (len(BUSY_SECONDS) + 3 + 1)])
    assert min(waited) >= BUSY_SECONDS[0]
    assert max(waited[:5]) < 3.0


def test_outlasts_a_database_that_is_away_for_a_minute(monkeypatch):
    waited = []
    monkeypatch.setattr("prefect.client.base.time", SimpleNamespace(sleep=waited.append))
    retries = PREFECT_CLIENT_MAX_RETRIES.default()
    ask("/hello", [*[503] * (len(BUSY_SECONDS) + retries), 200], retries=retries)
    assert sum(waited) > 60
    assert len(OUTAGE_SECONDS) == retries


def test_request_that_is_not_to_be_sent_again_fails_at_once(monkeypatch):
    waited = []
    monkeypatch.setattr("prefect.client.base.time", SimpleNamespace(sleep=waited.append))
    ask("/hello", [503], retries=0)
    assert sum(waited) == 0


@pytest.mark.parametrize(
    ("path", "status", "headers"),
    [
        ("/v2/concurrency_limits/leases/1/renew", 503, ()),
        ("/csrf-token", 503, ()),
        ("/hello", 429, ()),
        ("/hello", 503, (("Retry-After", "2"),)),
    ],
)
def test_other_answers_are_waited_for_as_usual(path, status, headers):
    [seconds] = ask(path, [status, 200], headers=headers)
    assert seconds > 1.0


@pytest.mark.parametrize("status", [404, 423])
def test_answers_that_are_not_to_be_asked_for_again(status):
    assert ask("/hello", [status]) == []
