"""The search for the fastest batch size, on devices that are simulated: a clock, and a rate for each size."""

import random

import pytest
import torch

from prefect_cvat.auto_annotation.functions._batch_size_search import MAX_SIZE
from prefect_cvat.auto_annotation.functions._batches import Batches


class Device:
    """Takes a constant time for each call, and one for each image; more for the first call of a size."""

    def __init__(self, per_call=0.0, per_image=0.01, *, room=1000, noise=0.0, first_call=0.0, seed=0):
        self.per_call = per_call
        self.per_image = per_image
        self.room = room
        self.noise = noise
        self.first_call = first_call
        self.random = random.Random(seed)
        self.now = 0.0
        self.sizes = []

    def __call__(self, items):
        is_first = len(items) not in self.sizes
        self.sizes.append(len(items))
        if len(items) > self.room:
            raise torch.OutOfMemoryError
        seconds = self.per_call + len(items) * self.per_image + is_first * self.first_call
        self.now += seconds * (1 + self.noise * self.random.expovariate(1))
        return [2 * item for item in items]

    def find(self, images=3000):
        batches = Batches(None, clock=lambda: self.now)
        assert batches.map(self, range(images)) == [2 * item for item in range(images)]
        return batches.size


def test_starts_small_and_doubles_while_larger_batches_are_faster():
    device = Device(per_call=1.0, per_image=0.001)
    assert device.find() == MAX_SIZE
    assert list(dict.fromkeys(device.sizes))[:6] == [2, 4, 8, 16, 32, 64]
    assert max(device.sizes) == MAX_SIZE


@pytest.mark.parametrize(
    ("per_call", "expected"),
    # with 40 ms a call, the rates of 2, 4, 8, ... images are 33, 50, 67, 80, 89 and 94 a second
    [(0.0, 2), (0.002, 2), (0.005, 4), (0.01, 8), (0.04, 32), (0.1, 64)],
)
def test_stops_where_a_larger_batch_gains_little(per_call, expected):
    assert Device(per_call).find() == expected


@pytest.mark.parametrize("seed", range(20))
def test_finds_a_fast_size_in_noise(seed):
    device = Device(0.04, noise=0.1, seed=seed)
    size = device.find()
    assert size in (4, 8, 16, 32, 64)
    best = 64 / (0.04 + 64 * 0.01)
    assert size / (0.04 + size * 0.01) > 0.5 * best
    fixed = Device(0.01, noise=0.5, seed=seed)
    assert fixed.find() <= 32


def test_first_call_of_a_size_does_not_count():
    assert Device(0.04, first_call=5.0).find() == Device(0.04).find()


def test_one_size_that_is_not_faster_does_not_end_the_search():
    class Stepped(Device):
        def __call__(self, items):
            self.per_image = 0.005 if len(items) >= 8 else 0.01
            return super().__call__(items)

    assert Stepped().find() == 8


@pytest.mark.parametrize(("room", "expected"), [(16, 16), (15, 8), (3, 2), (1, 1)])
def test_halves_when_memory_runs_out_and_stays_below(room, expected):
    device = Device(per_call=1.0, per_image=0.001, room=room)
    assert device.find() == expected
    assert sum(size > room for size in device.sizes) == 1
    assert set(device.sizes[device.sizes.index(max(device.sizes)) + 1 :]) <= {expected, 3000 % expected or 1}


def test_memory_may_run_out_after_the_search():
    device = Device(per_call=1.0, per_image=0.001)
    batches = Batches(None, clock=lambda: device.now)
    batches.map(device, range(3000))
    assert batches.size == MAX_SIZE
    device.room = 20
    batches.map(device, range(100))
    assert batches.size == 16


def test_size_is_kept_for_later_calls_and_short_batches_are_not_measured():
    device = Device(per_call=1.0, per_image=0.001)
    batches = Batches(None, clock=lambda: device.now)
    for _ in range(20):
        batches.map(device, [1])
    assert batches.size == 2
    for _ in range(4):
        batches.map(device, range(batches.size))
    assert batches.size == 4
    batches.map(device, range(3000))
    found, calls = batches.size, len(device.sizes)
    batches.map(device, range(2 * found))
    assert device.sizes[calls:] == [found, found]


def test_given_size_is_exact():
    device = Device(per_call=1.0)
    batches = Batches(5, clock=lambda: device.now)
    batches.map(device, range(500))
    assert set(device.sizes) == {5}
