"""Some of the hostile inputs; `make hostile` plays all of them."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from hostile.command import all_inputs, play_kind

INPUTS = all_inputs()
EVERY = 12


@pytest.fixture(scope="module")
def process() -> Iterator[ProcessPoolExecutor]:
    """A process of its own: that of the tests may have a fork server with more imported, which takes memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_there_are_200_inputs_with_unique_names():
    assert len(INPUTS) >= 200
    assert len({(each.kind, each.name) for each in INPUTS}) == len(INPUTS)


@pytest.mark.parametrize("kind", sorted({each.kind for each in INPUTS}))
def test_hostile_inputs_are_refused_with_a_message_or_accepted_completely(process, kind):
    problems, not_attacked = process.submit(play_kind, kind, EVERY).result()
    assert problems == []
    assert not_attacked == []
