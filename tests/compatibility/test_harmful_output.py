"""Output that the SDK does not check and that would do harm is refused by this library."""

from collections.abc import Callable
from typing import Any

import pytest

from compatibility.libraries import (
    BY_SDK,
    BY_US,
    OURS,
    SDK_BY_US,
    Library,
)
from compatibility.outputs import (
    AREA,
    BLOB,
    CAR,
    COLOUR,
    DOORS,
    HEAD,
    PARKED,
    POLYGON,
    SIDE,
    body,
    car,
    good,
    value,
    with_fields,
)

NAN, INFINITE = float("nan"), float("inf")

HARMFUL: dict[str, tuple[Callable[[Library], Any], str]] = {
    "runs that do not fill the box": (
        lambda lib: lib.cvataa.mask(BLOB, [0, 3, 10, 10, 11, 11]),
        "run lengths sum up to 3, but whose box has 4 pixels",
    ),
    "runs that overflow the box": (
        lambda lib: lib.cvataa.mask(BLOB, [4, 4, 10, 10, 11, 11]),
        "run lengths sum up to 8, but whose box has 4 pixels",
    ),
    "runs below 0": (lambda lib: lib.cvataa.mask(BLOB, [-1, 5, 10, 10, 11, 11]), "run lengths"),
    "runs with fractions": (lambda lib: lib.cvataa.mask(BLOB, [1.5, 2.5, 10, 10, 11, 11]), "not integers"),
    "box with fractions": (lambda lib: lib.cvataa.mask(BLOB, [0, 4, 10.5, 10, 11.5, 11]), "not integers"),
    "box turned round": (lambda lib: lib.cvataa.mask(BLOB, [0, 4, 11, 10, 10, 11]), "empty box"),
    "rectangle with NaN": (lambda lib: lib.cvataa.rectangle(CAR, [1, NAN, 3, 4]), "not finite"),
    "rectangle with infinity": (lambda lib: lib.cvataa.rectangle(CAR, [1, 2, INFINITE, 4]), "not finite"),
    "opposite infinities": (
        lambda lib: lib.cvataa.rectangle(CAR, [-INFINITE, 2, INFINITE, 4]),
        "not finite",
    ),
    "1e308": (lambda lib: lib.cvataa.rectangle(CAR, [1, 2, 1e308, 4]), "out of range .1e.308"),
    "1e308 twice": (
        lambda lib: lib.cvataa.polygon(AREA, [1, 2, 1e308, 1e308, 4, 5]),
        "out of range .1e.308",
    ),
    "-1e308": (lambda lib: lib.cvataa.rectangle(CAR, [-1e308, 2, 3, 4]), "out of range .-1e.308"),
    "keypoint with NaN": (lambda lib: body(lib, head=lib.cvataa.keypoint(HEAD, [NAN, 2])), "not finite"),
    "keypoint with 1e308": (
        lambda lib: body(lib, head=lib.cvataa.keypoint(HEAD, [1, 1e308])),
        "out of range",
    ),
    "three numbers of a rectangle": (lambda lib: lib.cvataa.rectangle(CAR, [1, 2, 3]), "with 3 numbers"),
    "two points of a polygon": (lambda lib: lib.cvataa.polygon(AREA, [1, 2, 3, 4]), "with 4 numbers"),
    "odd numbers of a polygon": (lambda lib: lib.cvataa.polygon(AREA, [*POLYGON, 1]), "with 7 numbers"),
    "a mask without runs": (lambda lib: lib.cvataa.mask(BLOB, [1, 1, 1, 1]), "with 4 numbers"),
    "points of a skeleton": (lambda lib: body(lib, points=[1.0, 2.0]), "with 2 numbers"),
    "rotation by NaN": (lambda lib: car(lib, rotation=NAN), "rotation nan"),
    "score of NaN": (lambda lib: car(lib, score=NAN), "score nan"),
}


@pytest.mark.parametrize("pairing", [SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize(("bad", "message"), HARMFUL.values(), ids=HARMFUL)
def test_harmful_output_is_refused(run, pairing, bad, message):
    with pytest.raises(OURS.error, match=f"function output .*{message}"):
        run(pairing, lambda lib: [*good(lib), bad(lib)])


OUT_OF_RANGE = {"rotation": 361.0, "score": 1.1}


@pytest.mark.parametrize(
    ("field", "pairing"),
    [
        *(("score", pairing) for pairing in (BY_SDK, SDK_BY_US, BY_US)),
        *(("rotation", pairing) for pairing in (BY_SDK, SDK_BY_US)),  # ours is taken modulo 360
    ],
    ids=str,
)
def test_out_of_range_values_are_refused(run, pairing, field):
    """The SDK's models refuse it with their own error, also caused by the function."""
    with pytest.raises(pairing.run.error if pairing.run is OURS else ValueError, match=field):
        run(pairing, lambda lib: [*good(lib), car(lib, **{field: OUT_OF_RANGE[field]})])


ATTRIBUTE_MESSAGES = {
    "number": ((DOORS, "8"), r"\(31\): 'doors' takes a whole number from 0 to 6 in steps of 2"),
    "select": ((COLOUR, "green"), r"\(32\): 'colour' takes one of 'red', 'blue'"),
    "radio": ((SIDE, ""), r"\(35\): 'side' takes one of 'l', 'r'"),
    "checkbox": ((PARKED, "True"), r"\(33\): 'parked' takes 'true' or 'false'"),
    "unknown": (
        (99, "x"),
        r"\(99\) on a shape; its label has the attributes 31 \('doors'\), 32 \('colour'\)",
    ),
}


@pytest.mark.parametrize(("given", "message"), ATTRIBUTE_MESSAGES.values(), ids=ATTRIBUTE_MESSAGES)
def test_attribute_error_names_attribute_and_allowed_values(run, given, message):
    with pytest.raises(OURS.error, match=message):
        run(BY_US, lambda lib: [car(lib, attributes=[value(lib, *given)])])


def test_duplicate_attribute_error_names_the_attribute(run):
    twice = [value(OURS, DOORS, "2"), value(OURS, DOORS, "4")]
    with pytest.raises(OURS.error, match=r"same ID \(31, on a shape\): 'doors' takes one value"):
        run(BY_US, lambda lib: [car(lib, attributes=twice)])


SMUGGLED = {
    "a word among points": lambda lib: with_fields(lib.cvataa.polygon(AREA, [*POLYGON, 1]), points="x"),
    "a dict among attributes": lambda lib: with_fields(car(lib, attributes=[]), attributes={"id": DOORS}),
    "a tuple among elements": lambda lib: with_fields(body(lib), elements=(HEAD, 1, 2)),
}


@pytest.mark.parametrize("pairing", [SDK_BY_US, BY_US], ids=str)
@pytest.mark.parametrize("bad", SMUGGLED.values(), ids=SMUGGLED)
def test_values_appended_to_lists_are_checked(run, pairing, bad):
    with pytest.raises(OURS.error, match="function output "):
        run(pairing, lambda lib: [*good(lib), bad(lib)])
