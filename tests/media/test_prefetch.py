"""Reading ahead in another thread."""

import threading
import time

import pytest

from prefect_cvat.media.prefetch import prefetch


def count(to, made, ended=None, fail_at=None):
    try:
        for number in range(to):
            if number == fail_at:
                raise OSError("oh no")
            made.append(number)
            yield number
    finally:
        if ended is not None:
            ended.append(threading.current_thread().name)


def settled(made):
    """The number of items produced, once it stops growing."""
    before = -1
    while before != len(made):
        before = len(made)
        time.sleep(0.05)
    return before


@pytest.mark.parametrize(
    ("max_items", "max_bytes", "made_ahead"),
    [(3, 1000, 3), (100, 40, 4), (100, 49, 4), (5, 50, 5), (100, 1, 1)],
)
def test_prefetch_is_bounded_by_its_capacity_plus_one(max_items, max_bytes, made_ahead):
    made = []
    ahead = prefetch(count(50, made), lambda _: 10, max_items=max_items, max_bytes=max_bytes)
    assert next(ahead) == 0
    assert settled(made) == 1 + made_ahead + 1
    assert list(ahead) == list(range(1, 50))


def test_error_is_raised_after_the_items_before_it():
    ahead = prefetch(count(9, [], fail_at=3), lambda _: 1, max_items=9, max_bytes=9)
    assert [next(ahead), next(ahead), next(ahead)] == [0, 1, 2]
    with pytest.raises(OSError, match="oh no"):
        next(ahead)


@pytest.mark.parametrize("taken", [1, 3])
def test_closing_ends_the_thread_and_closes_the_generator_in_it(taken):
    ended = []
    ahead = prefetch(count(10**9, [], ended), lambda _: 1, max_items=2, max_bytes=2)
    for _ in range(taken):
        next(ahead)
    ahead.close()
    assert ended == ["prefetch"]
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_unused_prefetch_starts_no_thread():
    ahead = prefetch(count(3, []), lambda _: 1, max_items=2, max_bytes=2)
    ahead.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
