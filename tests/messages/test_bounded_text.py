"""Text of servers and functions is shortened and printable in all messages."""

import pickle
import tracemalloc

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat import exceptions
from prefect_cvat.auto_annotation import BadFunctionError, mask, polygon
from prefect_cvat.inference.coordinate_checks import check_geometry
from prefect_cvat.masks import encode_mask
from prefect_cvat.messages.bounded_text import (
    MAX_MESSAGE_LENGTH,
    ShortenedError,
    describe_error,
    one_line,
    shorten,
    shorten_error,
)


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=3000))
def test_shortened_text_is_short_and_printable(text):
    result = shorten(text)
    assert len(result) <= MAX_MESSAGE_LENGTH
    assert result.replace("\n", "").isprintable()
    result.encode("utf-8")
    assert one_line(text).isprintable()


def test_keeps_short_printable_text():
    text = "label 'Straßenbahn' is not in the task\n  - 人"
    assert shorten(text) == text


def test_keeps_begin_and_end():
    assert one_line(f"job 3:  {'x' * 10**6}\nrun it again", 40) == "job 3: xxxxxxxxxxxxxxxxxx ... n it again"
    assert shorten("\x1b[31mred\x07") == r"\x1b[31mred\x07"


ERRORS = [
    error
    for error in vars(exceptions).values()
    if isinstance(error, type) and issubclass(error, exceptions.PrefectCvatError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_are_short_and_survive_pickling(error):
    text = "\x1b" + "no " * 10**5
    match error.__name__:
        case "IncompleteRunError":
            made = error(text, report=None)
        case _ if issubclass(error, exceptions.ApiError):
            made = error(text, status=400, method="GET", path="/")
        case _:
            made = error(text)
    assert len(str(made)) <= MAX_MESSAGE_LENGTH
    assert str(made).startswith(r"\x1bno no")
    assert str(pickle.loads(pickle.dumps(made))) == str(made)


def test_replaces_errors_with_long_messages():
    class SilentError(Exception):
        def __str__(self):
            raise ValueError

    noted = ValueError("short")
    noted.add_note("x" * 10**6)
    chained = ValueError("short")
    chained.__cause__ = ValueError("x" * 10**6)
    group = ExceptionGroup("short", [ValueError("x" * 10**6)])
    for error in (ValueError("x" * 10**6), ValueError("\x1b[31m"), SilentError(), noted, chained, group):
        assert isinstance(shorten_error(error), ShortenedError)
        assert len(str(shorten_error(error))) <= MAX_MESSAGE_LENGTH
    assert describe_error(SilentError()) == "SilentError: (its message cannot be had: ValueError)"
    plain = ValueError("short")
    assert shorten_error(plain) is plain


@pytest.mark.parametrize(
    "pixels",
    [
        np.ones((3000, 4000), bool),
        np.ones((1, 30, 40), np.uint8),
        np.ones((30, 40), bool).ravel(),
        np.ones((30, 40), int).tolist(),
    ],
    ids=["an array", "an array of an array", "truth values", "lists"],
)
def test_explains_how_to_encode_a_bitmap(pixels):
    tracemalloc.start()
    with pytest.raises(BadFunctionError, match=r"encode_mask\(array\)") as error:
        mask(0, pixels)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000  # 12 million pixels are not written out first
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_explains_how_to_encode_a_bitmap_that_looks_like_run_lengths():
    flat = mask(0, np.ones((30, 40)).ravel())
    with pytest.raises(BadFunctionError, match=r"sum up to 1196, .* 1 pixel; .*encode_mask\(array\)"):
        check_geometry(flat)


def test_accepts_encoded_masks():
    points = encode_mask(np.ones((30, 40), bool))
    assert mask(0, np.asarray(points)).points == points
    assert mask(0, tuple(points)).points == points


def test_reports_the_first_of_many_invalid_numbers():
    with pytest.raises(pydantic.ValidationError) as error:
        polygon(0, ["a"] * 10_000)
    assert error.value.error_count() == 1
