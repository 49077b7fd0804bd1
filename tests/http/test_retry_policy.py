"""Delays before requests are sent again."""

import time

import pytest

from prefect_cvat import Client
from prefect_cvat.exceptions import ServerError, TooManyRequestsError
from prefect_cvat.http.retry_policy import RetryPolicy
from scripted_server import Answer, scripted_server

LONG_AGO = "Wed, 21 Oct 2015 07:28:00 GMT"


@pytest.mark.parametrize("asked", ["0", "000", LONG_AGO, "-5", "1e400", "soon", ""], ids=repr)
def test_waits_although_retry_after_is_zero_or_invalid(asked):
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
def test_gives_up_if_retry_after_exceeds_the_limit(asked):
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
def test_waits_for_the_longer_of_policy_and_retry_after(attempt, asked, least, most):
    assert least <= RetryPolicy().delay(attempt, asked) <= most


FAILS = Answer(500, b"<title>Server Error (500)</title>", {"Content-Type": "text/html"})


@pytest.mark.parametrize("answers", [[FAILS], [Answer(502, b""), FAILS]], ids=["at once", "after a restart"])
def test_gives_up_a_read_sooner_after_consecutive_500s(answers):
    policy = RetryPolicy(give_up_after=60, give_up_after_500=0.3, first_delay=0.02)
    started = time.monotonic()
    with scripted_server(*answers) as server:
        with pytest.raises(ServerError, match=r"Server Error \(500\), CVAT's own page"):
            Client(server.url, access_token="x", retry=policy).job_annotations(1)
        assert 3 <= len(server.requests) <= 8
    assert time.monotonic() - started < 5


def test_counts_only_consecutive_500s():
    policy = RetryPolicy(give_up_after=60, give_up_after_500=0.1, first_delay=0.06, longest_delay=0.06)
    away, there = Answer(502, b""), Answer(body=b'{"version": "2.73.0"}')
    with scripted_server(FAILS, away, FAILS, away, FAILS, away, FAILS, there) as server:
        assert Client(server.url, access_token="x", retry=policy).server_version() == "2.73.0"


def test_default_policy_gives_up_after_five_minutes_or_30_seconds_of_500():
    assert RetryPolicy().give_up_after_500 == 30
    assert RetryPolicy().give_up_after == 300
