"""Things in words."""

import pytest

from prefect_cvat.counted import counted, listed


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((0, "frame"), "0 frames"),
        ((1, "frame"), "1 frame"),
        ((2, "frame"), "2 frames"),
        ((1, "false alarm"), "1 false alarm"),
        ((21, "false alarm"), "21 false alarms"),
        ((1, "box", "boxes"), "1 box"),
        ((3, "entry", "entries"), "3 entries"),
    ],
)
def test_nouns_go_with_their_numbers(args, expected):
    assert counted(*args) == expected


def test_names_that_there_is_no_room_for_are_counted():
    assert listed(["a", "b"]) == "'a', 'b'"
    assert listed(["a", "b", "c", "d"], most=2) == "'a', 'b' and 2 more"
