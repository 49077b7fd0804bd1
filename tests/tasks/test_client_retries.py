"""How soon a request to the Prefect server is sent again, on a real HTTP server."""

import time

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings

from loopback_server import LoopbackHandler, loopback_server
from prefect_cvat.tasks.client_retries import again_soon, client_retries

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


@pytest.mark.parametrize(
    ("answers", "times"),
    [
        ([503, 503, 200], 3),  # SQLite is busy: Prefect's client would wait 2 s
        ([404], 1),
        ([423], 1),  # slots that are not free
    ],
)
def test_busy_server_is_asked_again_soon(answers, times):
    asked, began = ask(answers), time.monotonic()
    assert len(asked) == times
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    ("answers", "times"), [([503, 503, 503, 503, 503, 200], 6), ([502, 502, 200], 3), ([503] * 9, 7)]
)
def test_other_errors_and_long_ones_are_those_of_the_client(answers, times):
    """Which sends a request again twice here: at most four and three times together."""
    asked = ask(answers)
    assert len(asked) == times
    assert asked[-1] - asked[0] > 1.5


def ask(answers):
    """Send a request; return when it arrived, each time, if the last answer is the result."""
    asked = []

    class Answers(LoopbackHandler):
        def do_GET(self):  # noqa: N802
            asked.append(time.monotonic())
            self.send_response(answers[len(asked) - 1])
            self.send_header("Content-Length", "0")
            self.end_headers()

    with (
        loopback_server(Answers) as url,
        temporary_settings({PREFECT_API_URL: url}),
        client_retries(2),
        get_client(sync_client=True) as client,
    ):
        if answers[-1] == 200:
            again_soon(lambda: client.request("GET", "/hello"))
        else:
            with pytest.raises(httpx.HTTPStatusError, match=str(answers[-1])):
                again_soon(lambda: client.request("GET", "/hello"))
    return asked
