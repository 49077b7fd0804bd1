"""What the gateway keeps of images and tracks is bounded in bytes."""

import asyncio
from concurrent.futures import Future

import numpy as np
import PIL.Image
import pytest

from prefect_cvat.gateway.memory_size import MAX_OBJECTS, bytes_of
from prefect_cvat.gateway.prepared_images import PreparedImage, PreparedImages
from prefect_cvat.gateway.refusals import Refusal
from prefect_cvat.gateway.tracks import Track, Tracks
from prefect_cvat.gateway.waiting_memory import WaitingMemory
from prefect_cvat.inference.tracking_calls import ShapeContext, ShapeToTrack, TrackedShape

MIB = 2**20


class Slotted:
    __slots__ = ("array", "unset")

    def __init__(self, array):
        self.array = array


class Plain:
    def __init__(self, array):
        self.array = array
        self.itself = self


@pytest.mark.parametrize(
    "wrap",
    [
        lambda array: array,
        lambda array: [array],
        lambda array: {"a": (array, "text")},
        Slotted,
        Plain,
        lambda array: [Plain(Slotted({"x": array}))],
        lambda array: [array, array],
        lambda array: PIL.Image.new("RGB", (512, 512)),
    ],
)
def test_arrays_are_found_wherever_they_are(wrap):
    assert bytes_of(wrap(np.zeros(MIB, dtype=np.uint8))) == pytest.approx(MIB, rel=0.01)


class CountedList(list):
    read = 0

    def __iter__(self):
        for item in super().__iter__():
            self.read += 1
            yield item


def test_of_long_lists_only_the_begin_is_read():
    numbers = CountedList(map(float, range(100 * MAX_OBJECTS)))
    assert bytes_of(numbers) > MIB
    assert numbers.read <= MAX_OBJECTS


def prepared(size):
    return PreparedImage(np.zeros(size, dtype=np.uint8), (10, 10))


def test_images_not_used_for_longest_are_dropped():
    images = PreparedImages(3 * MIB)
    for key in "abc":
        images.get(key, lambda: prepared(MIB - 1000))
    images.get("a", lambda: pytest.fail("it is kept"))
    images.get("d", lambda: prepared(MIB - 1000))
    assert [key for key in "abcd" if key in images] == ["a", "c", "d"]
    assert images.total_bytes <= 3 * MIB
    images.drop(lambda key: key == "a")
    assert images.total_bytes <= 2 * MIB
    images.get("e", lambda: prepared(4 * MIB))
    assert "e" not in images
    assert "c" in images


def test_image_in_unknown_memory_counts_its_pixels():
    images = PreparedImages(10 * MIB)
    images.get("a", lambda: PreparedImage(object(), (1000, 1000)))
    assert images.total_bytes >= 3_000_000


def track(size, function="f"):
    source = ShapeToTrack(0, "rectangle", (1, 2, 3, 4))
    state = {"array": np.zeros(size, dtype=np.uint8)}
    return Track(function, TrackedShape(source, ShapeContext("rectangle"), state), "rectangle", [], (64, 48))


def test_tracks_are_bounded_in_bytes():
    tracks = Tracks(max_count=100, max_bytes=3 * MIB, max_seconds=1000)
    keys = [tracks.add(track(MIB - 10_000)) for _ in range(4)]
    with pytest.raises(Refusal):
        tracks.find(keys[:1], "f")
    found = tracks.find(keys[1:], "f")
    found[0].tracked.state["array"] = np.zeros(2 * MIB, dtype=np.uint8)  # it grows, and was asked for first
    tracks.resize(found)
    assert len(tracks) == 2
    tracks.drop(lambda each: each.function == "f")
    assert len(tracks) == 0
    tracks.add(track(MIB - 10_000))
    tracks.add(track(MIB - 10_000))
    assert len(tracks) == 2


def test_last_track_is_kept_whatever_its_size():
    tracks = Tracks(max_count=100, max_bytes=0, max_seconds=1000)
    key = tracks.add(track(MIB))
    assert tracks.find([key], "f")


def test_calls_that_wait_are_bounded_in_bytes():
    memory = WaitingMemory(100)
    with memory.share() as first:
        first.resize(150)  # a single call may take more
        with memory.share() as second, pytest.raises(Refusal, match="other large images"):
            second.resize(1)
        first.resize(50)
        with memory.share() as second:
            second.resize(50)
            with pytest.raises(Refusal):
                second.resize(51)
            assert memory.taken == 100
    assert memory.taken == 0


def test_share_of_a_call_without_caller_is_free_when_the_function_has_ended():
    memory = WaitingMemory(100)

    async def call(answer):
        with memory.share() as share:
            share.resize(60)
            share.keep_until(answer, asyncio.get_running_loop())
        assert memory.taken == 60
        answer.set_result(b"")
        await asyncio.sleep(0)
        assert memory.taken == 0

    asyncio.run(call(Future()))
