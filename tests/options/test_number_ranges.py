"""Numbers stored as ranges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.number_ranges import NumberRanges

NUMBERS = st.lists(st.integers(-20, 60), max_size=30)


@given(NUMBERS)
def test_iterates_over_sorted_unique_numbers(numbers):
    ranges = NumberRanges.of(numbers)
    assert list(ranges) == sorted(set(numbers))
    assert len(ranges) == len(set(numbers))
    assert bool(ranges) is bool(numbers)
    assert all((number in ranges) is (number in numbers) for number in range(-25, 65))


@given(NUMBERS, st.integers(0, 50))
def test_finds_numbers_outside_a_task(numbers, size):
    outside = NumberRanges.of(numbers).outside(size)
    assert list(outside) == [number for number in sorted(set(numbers)) if not 0 <= number < size]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), min_size=1, max_size=8))
def test_parses_its_own_description(parts):
    text = ",".join(f"{first}-{first + more}" if more else f"{first}" for first, more in parts)
    ranges = NumberRanges.parse(text)
    assert set(ranges) == {n for first, more in parts for n in range(first, first + more + 1)}
    assert NumberRanges.parse(ranges.describe(max_ranges=100)) == ranges


def test_holds_a_billion_numbers():
    ranges = NumberRanges.parse("0-999999999")
    assert (len(ranges), 999_999_999 in ranges, 10**9 in ranges) == (10**9, True, False)
    assert ranges.outside(4).describe() == "4-999999999"
    assert not ranges.outside(float("inf"))
    assert NumberRanges.of(range(10**30)).outside(4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5-3", "'5-3' ends before it begins; write 3-5"),
        ("a", "'a' is neither a number nor a range"),
        ("-4", "'-4' is neither"),
        ("1--4", "'1--4' is neither"),
        ("²", "'²' is neither"),
        ("2147483648", "is too large: CVAT counts to 2147483647"),
        ("0-" + "9" * 5000, "is too large"),
    ],
)
def test_refuses_invalid_ranges(text, message):
    with pytest.raises(ValueError, match=message):
        NumberRanges.parse(text)


def test_describes_the_first_of_many_ranges():
    assert NumberRanges.of(range(0, 40, 2)).describe() == "0, 2, 4, 6, 8, 10, 12, 14, ..."
