"""Numbers of things, in words."""

import pytest

from prefect_cvat.counted import counted


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
