"""Sizes of batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.frames import Frame
from prefect_cvat.planning.batch_size import BatchSize, PartQueue, take_batch, take_parts


def test_first_batch_is_one_part_of_a_chunk_and_a_fixed_size_does_not_change():
    assert BatchSize().max_frames(10_000) == 1
    fixed = BatchSize(7)
    fixed.learn(seconds=0.001, frames=1)
    assert fixed.max_frames(10_000) == 7


@pytest.mark.parametrize(
    ("seconds_per_frame", "total", "most"),
    [(0.1, 1000, 20), (5.0, 50, 0), (0.0, 1000, 150), (5.0, 4000, 40), (0.0, 40_000, 400)],
    ids=["two seconds", "slow", "never more than 150", "about 100 batches", "quick and many"],
)
def test_a_batch_is_about_two_seconds_of_detection(seconds_per_frame, total, most):
    size = BatchSize()
    size.learn(seconds_per_frame * 4, 4)
    assert size.max_frames(total) == most


def test_last_measurement_counts_half():
    size = BatchSize()
    size.learn(0.1, 1)
    size.learn(0.3, 1)
    assert size.max_frames(100) == 10


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=20), most=st.integers(0, 12))
def test_batches_are_whole_parts_of_chunks_as_many_as_fit_and_one_at_least(lengths, most):
    frames = [[Frame(10 * number + i, "", 1, 1) for i in range(n)] for number, n in enumerate(lengths)]
    parts = PartQueue(enumerate(frames))
    batches = []
    while parts.first is not None:
        batches.append(take_parts(parts, most))
    assert [part for batch in batches for part in batch] == list(enumerate(frames))
    sizes = [sum(len(frames) for _, frames in batch) for batch in batches]
    assert all(size <= most or len(batch) == 1 for size, batch in zip(sizes, batches, strict=True))
    following = [batch[0] for batch in batches[1:]]
    assert all(size + len(frames) > most for size, (_, frames) in zip(sizes, following, strict=False))


def test_known_detections_are_in_large_batches_of_their_own():
    size = BatchSize()
    parts = PartQueue((number, [Frame(50 * number + i, "", 1, 1) for i in range(50)]) for number in range(9))
    known = {0, 1, 2, 3, 6, 7}
    assert size.max_frames(450, are_known=True) == 1  # how many annotations they have is not known
    size.learn(None, 50, annotations=10)
    batches = []
    while parts.first is not None:
        batches.append(
            [number for number, _ in take_batch(parts, size, 450, lambda chunk, _: chunk in known)]
        )
    assert batches == [[0, 1, 2], [3], [4], [5], [6, 7], [8]]


def test_batches_of_known_detections_say_nothing_about_seconds_but_about_memory():
    size = BatchSize()
    size.learn(None, 10, annotations=10_000)
    assert size.max_frames(1000) == 1
    assert size.max_frames(1000, are_known=True) == 20
    size.learn(1.0, 1)
    assert size.max_frames(100) == 2
