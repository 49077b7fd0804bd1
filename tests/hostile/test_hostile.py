"""Some of the hostile inputs; `make hostile` plays all of them."""

import pytest

from hostile.command import all_inputs, play_all

INPUTS = all_inputs()
EVERY = 12


def test_there_are_200_and_each_has_a_name_of_its_own():
    assert len(INPUTS) >= 200
    assert len({(each.kind, each.name) for each in INPUTS}) == len(INPUTS)


@pytest.mark.parametrize("kind", sorted({each.kind for each in INPUTS}))
def test_hostile_inputs_are_refused_in_words_or_taken_whole(kind):
    inputs = [each for each in INPUTS if each.kind == kind][::EVERY]
    outcomes = list(play_all(inputs, workers=3))
    assert [(outcome.input.name, outcome.problems) for outcome in outcomes if outcome.problems] == []
    assert [outcome.input.name for outcome in outcomes if outcome.input.route and not outcome.attacked] == []
