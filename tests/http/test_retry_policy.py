"""How long is waited before a request is sent again."""

import time

import pytest

from prefect_cvat import Client
from prefect_cvat.exceptions import ServerError, TooManyRequestsError
from prefect_cvat.http.retry_policy import RetryPolicy
from scripted_server import Answer, scripted_server

LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize("asked", ["0", "000", LONG_AGO, "-5", "1e400", "soon", ""], ids=repr)
def test_a_server_that_asks_for_no_wait_gets_no_storm_of_requests(asked):
    policy = RetryPolicy(give_up_after=2.0, first_delay=0.01)
    with scripted_server(Answer(429, b"", {"Retry-After": asked})) as server:
        client = Client(server.url, access_token="x", retry=policy)
        with pytest.raises(TooManyRequestsError):
            client.job_annotations(1)
        with pytest.raises(TooManyRequestsError):
            client.create_job_annotations(1, {})
    # twice 0.01 s, 0.02 s, 0.04 s ... up to 2 s
    assert len(server.requests) <= 2 * 9


@pytest.mark.parametrize("asked", ["3600", "9" * 400, "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"], ids=len)
def test_a_server_that_asks_for_more_than_there_is_is_not_waited_for(asked):
    started = time.monotonic()
    policy = RetryPolicy(give_up_after=0.2, first_delay=0.05)
    with (
        scripted_server(Answer(429, b"", {"Retry-After": asked})) as server,
        pytest.raises(TooManyRequestsError),
    ):
        Client(server.url, access_token="x", retry=policy).task(1)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(("attempt", "asked", "least", "most"), [
    (1, None, 0.375, 0.5), (1, 0.0, 0.375, 0.5), (3, 0.0, 1.5, 2.0), (50, 0.0, 15.0, 20.0), (1, 7.0, 7.0, 7.0),
    (10_000, None, 15.0, 20.0),
])  # fmt: skip
def test_the_longer_of_what_the_server_asks_for_and_what_the_policy_says_is_waited(
    attempt, asked, least, most
):
    assert least <= RetryPolicy().delay(attempt, asked) <= most


FAILS = Answer(500, b"<title>Server Error (500)</title>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("answers", [[FAILS], [Answer(502, b""), FAILS]], ids=["at once", "after a restart"])
def test_a_read_that_is_answered_500_again_and_again_is_given_up_before_one_that_no_cvat_answers(answers):
    policy = RetryPolicy(give_up_after=60, give_up_after_500=0.3, first_delay=0.02)
    started = time.monotonic()
    with scripted_server(*answers) as server:
        with pytest.raises(ServerError, match=r"Server Error \(500\), CVAT's own page"):
            Client(server.url, access_token="x", retry=policy).job_annotations(1)
        assert 3 <= len(server.requests) <= 8
    assert time.monotonic() - started < 5


def test_a_500_in_between_does_not_shorten_the_wait_for_a_server_that_is_away():
    policy = RetryPolicy(give_up_after=60, give_up_after_500=0.1, first_delay=0.06, longest_delay=0.06)
    away, there = Answer(502, b""), Answer(body=b'{"version": "2.73.0"}')
    with scripted_server(FAILS, away, FAILS, away, FAILS, away, FAILS, there) as server:
        assert Client(server.url, access_token="x", retry=policy).server_version() == "2.73.0"


def test_a_lasting_500_is_waited_for_some_30_seconds_and_all_else_five_minutes():
    assert RetryPolicy().give_up_after_500 == 30
    assert RetryPolicy().give_up_after == 300
