"""Text of others is short and can be printed, wherever it comes up."""

import pickle
import tracemalloc

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat import exceptions
from prefect_cvat.auto_annotation import BadFunctionError, mask, polygon
from prefect_cvat.inference.output_checks import check_geometry
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
def test_whatever_it_is_it_is_short_and_can_be_printed(text):
    result = shorten(text)
    assert len(result) <= MAX_MESSAGE_LENGTH
    assert result.replace("\n", "").isprintable()
    result.encode("utf-8")
    assert one_line(text).isprintable()


def test_what_is_short_and_printable_stays_as_it_is():
    text = "label 'Straßenbahn' is not in the task\n  - 人"
    assert shorten(text) == text


def test_the_beginning_and_the_end_stay():
    assert one_line(f"job 3:  {'x' * 10**6}\nrun it again", 40) == "job 3: xxxxxxxxxxxxxxxxxx ... n it again"
    assert shorten("\x1b[31mred\x07") == r"\x1b[31mred\x07"


ERRORS = [
    error
    for error in vars(exceptions).values()
    if isinstance(error, type) and issubclass(error, exceptions.PrefectCvatError)
]


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_of_ours_is_bounded_and_survives_pickling(error):
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


def test_an_error_that_says_too_much_is_stood_for_by_another():
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
def test_a_mask_given_as_pixels_is_told_what_to_use(pixels):
    tracemalloc.start()
    with pytest.raises(BadFunctionError, match=r"encode_mask\(array\)") as error:
        mask(0, pixels)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000  # 12 million pixels are not written out first
    tracemalloc.stop()
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_mask_given_as_pixels_that_look_like_run_lengths_is_told_what_to_use():
    flat = mask(0, np.ones((30, 40)).ravel())
    with pytest.raises(BadFunctionError, match=r"sum up to 1196, .* 1 pixel; .*encode_mask\(array\)"):
        check_geometry(flat)


def test_a_mask_given_as_it_should_be_is_taken():
    points = encode_mask(np.ones((30, 40), bool))
    assert mask(0, np.asarray(points)).points == points
    assert mask(0, tuple(points)).points == points


def test_of_many_wrong_numbers_the_first_is_told():
    with pytest.raises(pydantic.ValidationError) as error:
        polygon(0, ["a"] * 10_000)
    assert error.value.error_count() == 1
