"""Counts with nouns."""

import pytest

from prefect_cvat.messages.plurals import format_counts, pluralize, quoted_list


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
def test_pluralizes_nouns(args, expected):
    assert pluralize(*args) == expected


def test_counts_names_beyond_the_maximum():
    assert quoted_list(["a", "b"]) == "'a', 'b'"
    assert quoted_list(["a", "b", "c", "d"], max_names=2) == "'a', 'b' and 2 more"


def test_formats_counts_in_descending_order():
    assert format_counts({}) == "none"
    assert format_counts({"car": 1, "bus": 1, "person": 3}) == "3 person, 1 bus, 1 car"
    assert format_counts({"car": 1, "bus": 1, "person": 3}, max_names=1) == "3 person, 2 of 2 other labels"
