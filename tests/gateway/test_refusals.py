"""What the user of CVAT reads of an error."""

import pytest

from prefect_cvat.gateway.refusals import MAX_REASON, reason_phrase, without_place


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("function failed: E: no (/home/a/mine.py, line 5, in detect)", "function failed: E: no"),
        ("'/home/a b/mine.py' cannot be run: x", "'a b/mine.py' cannot be run: x"),
        (
            "function '/home/a/mine.py' has neither (/home/a/mine.py)",
            "function 'mine.py' has neither (mine.py)",
        ),
        ("see http://host/a/b and a/b/c", "see http://host/a/b and a/b/c"),
        ("half of it: 1/2", "half of it: 1/2"),
    ],
)
def test_places_are_left_out(message, said):
    assert without_place(message) == said


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("one\r\nX-Header: two", "one X-Header: two"),
        ("a\x00b\x7f", "a?b?"),
        ("größer", "gr??er"),
        ("", ""),
    ],
)
def test_reason_is_one_line_of_ascii(text, phrase):
    assert reason_phrase(text) == phrase


def test_reason_is_not_long():
    assert len(reason_phrase("x" * 10_000)) == MAX_REASON
