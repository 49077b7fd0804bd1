"""How many chunks are downloaded at a time, on links and servers that are simulated."""

import heapq

import pytest

from prefect_cvat.media.download_limit import DownloadLimit
from prefect_cvat.options.execution_options import MAX_DOWNLOADS

CHUNK = 1_000_000


def simulate(seconds_for, chunks=400, limit=None, refuses=lambda running, now: False):
    """Download chunks as fast as a limit allows; return its values over time, and the seconds.

    Args:
        seconds_for: The seconds of a download, by the number in progress.
        chunks: The number of chunks.
        limit: The limit.
        refuses: Whether the server refuses a request, by the number in progress.
    """
    limit = limit or DownloadLimit()
    now, waiting, running = 0.0, chunks, []
    numbers = [limit.number]
    while waiting or running:
        while waiting and len(running) < limit.number:
            waiting -= 1
            under_way = len(running) + 1
            is_refused = refuses(under_way, now)
            end = now + (0.1 if is_refused else seconds_for(under_way, now))
            heapq.heappush(running, (end, chunks - waiting, now, is_refused))
        now, _, began, was_refused = heapq.heappop(running)
        if was_refused:
            limit.refused(began, now)
            waiting += 1
        else:
            limit.finished(CHUNK, now, others_wait=waiting > 0)
        numbers.append(limit.number)
    return numbers, now


def usual(numbers):
    """The number that was allowed most of the time, after the beginning."""
    later = sorted(numbers[len(numbers) // 2 :])
    return later[len(later) // 2]


def test_begins_with_four_as_cvat_sdk_does():
    assert DownloadLimit().number == 4


def test_grows_on_a_long_link():
    # each download waits one second for the server, regardless of their number
    numbers, seconds = simulate(lambda running, now: 1.0)
    assert usual(numbers) >= 12
    assert max(numbers) == MAX_DOWNLOADS
    _, fixed = simulate(lambda running, now: 1.0, limit=DownloadLimit(4))
    assert seconds < 0.55 * fixed


def test_does_not_grow_if_more_downloads_are_not_faster():
    # the link is full with three
    numbers, seconds = simulate(lambda running, now: max(0.3, 0.1 * running))
    assert usual(numbers) == 4
    assert max(numbers) == 5, "it tries"
    _, fixed = simulate(lambda running, now: max(0.3, 0.1 * running), limit=DownloadLimit(4))
    assert seconds < 1.1 * fixed


def test_halves_once_for_requests_that_are_refused_at_the_same_time():
    limit = DownloadLimit()
    for began in (0.0, 0.1, 0.2):
        limit.refused(began, 5.0)
    assert limit.number == 2
    limit.refused(5.5, 6.0)
    assert limit.number == 1
    limit.refused(6.5, 7.0)
    assert limit.number == 1


def test_stays_below_the_number_that_the_server_refuses():
    numbers, _ = simulate(lambda running, now: 0.5, refuses=lambda running, now: running > 6)
    assert usual(numbers) in (3, 4, 5, 6)
    assert max(numbers) <= 7


def test_grows_again_when_the_server_no_longer_refuses():
    numbers, _ = simulate(
        lambda running, now: 1.0, chunks=600, refuses=lambda running, now: now < 20 and running > 1
    )
    assert 1 in numbers
    assert numbers[-1] >= 8


def test_halves_if_the_server_slows_down():
    # from then on it does one thing after the other
    numbers, _ = simulate(lambda running, now: max(0.4, 0.1 * running) if now < 20 else running, chunks=600)
    assert numbers[0] == 4
    assert usual(numbers) in (1, 2)


def test_ignores_downloads_that_nothing_waited_for():
    limit = DownloadLimit()
    for number in range(1000):
        limit.finished(CHUNK, float(number), others_wait=number % 8 != 0)
    assert limit.number == 4


@pytest.mark.parametrize("number", [1, 4, 16])
def test_given_number_is_fixed(number):
    limit = DownloadLimit(number)
    numbers, _ = simulate(lambda running, now: 1.0, limit=limit)
    assert set(numbers) == {number}
    limit.refused(1e9, 1e9)
    assert limit.number == number


def test_tolerates_a_clock_that_does_not_advance():
    limit = DownloadLimit()
    for _ in range(100):
        limit.finished(CHUNK, 7.0, others_wait=True)
    assert limit.number == 4
