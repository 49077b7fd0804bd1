"""Sets of frame or job numbers as ranges, so that memory depends on the number of ranges only."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator
from operator import index

__all__ = ["NumberRanges"]

TOO_LARGE = 2**31
"""CVAT's numbers are smaller than this."""


class NumberRanges(Collection[int]):
    """A set of numbers in ascending order.

    Args:
        ranges: Ranges with a step of 1; they may overlap.
    """

    __slots__ = ("_ranges", "_starts")

    def __init__(self, ranges: Iterable[range] = ()) -> None:
        merged: list[range] = []
        for part in sorted((part for part in ranges if part), key=lambda part: part.start):
            if merged and part.start <= merged[-1].stop:
                merged[-1] = range(merged[-1].start, max(merged[-1].stop, part.stop))
            else:
                merged.append(part)
        self._ranges = tuple(merged)
        self._starts = [part.start for part in merged]

    @classmethod
    def of(cls, numbers: Iterable[int]) -> NumberRanges:
        """Convert numbers to ranges."""
        if isinstance(numbers, NumberRanges):
            return numbers
        if isinstance(numbers, range) and numbers.step == 1:
            return cls([numbers])
        return cls(_runs(numbers))

    @classmethod
    def parse(cls, text: str) -> NumberRanges:
        """Parse numbers and ranges of numbers, such as `0-99,150`.

        Raises:
            ValueError: A part is neither a number nor a range, ends before it begins, or is too large.
        """
        return cls(_parse_part(part.strip()) for part in text.split(","))

    def outside(self, stop: float) -> NumberRanges:
        """The numbers below 0 and from `stop` on."""
        parts = []
        for part in self._ranges:
            parts.append(range(part.start, min(part.stop, 0)))
            if stop < part.stop:
                parts.append(range(max(part.start, int(stop)), part.stop))
        return NumberRanges(parts)

    def describe(self, max_ranges: int = 8) -> str:
        """The numbers as text, such as `0-3, 7, 9`, with at most `max_ranges` ranges."""
        shown = [
            str(part.start) if part.stop == part.start + 1 else f"{part.start}-{part.stop - 1}"
            for part in self._ranges[:max_ranges]
        ]
        return ", ".join(shown) + (", ..." if len(self._ranges) > max_ranges else "")

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        place = bisect_right(self._starts, number)
        return place > 0 and number in self._ranges[place - 1]

    def __iter__(self) -> Iterator[int]:
        for part in self._ranges:
            yield from part

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __len__(self) -> int:
        return sum(map(len, self._ranges))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NumberRanges) and self._ranges == other._ranges

    def __hash__(self) -> int:
        return hash(self._ranges)

    def __repr__(self) -> str:
        return f"NumberRanges({self.describe()})"


def _runs(numbers: Iterable[int]) -> Iterator[range]:
    """Ranges of numbers that follow each other: a run has few, and making one for each number takes long."""
    start = stop = 0
    for number in numbers:
        if number != stop:
            yield range(start, stop)
            start = number
        stop = index(number) + 1
    yield range(start, stop)


def _parse_part(text: str) -> range:
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not dash)):
        raise ValueError(f"{text!r} is neither a number nor a range, such as 7 or 0-99")
    if max(len(first), len(last)) > 10 or max(int(first), int(last or 0)) >= TOO_LARGE:
        raise ValueError(f"{text[:40]!r} is too large: CVAT counts to {TOO_LARGE - 1}")
    found = range(int(first), int(last or first) + 1)
    if not found:
        raise ValueError(f"{text!r} ends before it begins; write {last}-{first}")
    return found
