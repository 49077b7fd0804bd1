"""The frames of a plan, stored as numbers: a million `Frame` objects would take 200 MB."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar, overload

from prefect_cvat.frame_table import FrameTable
from prefect_cvat.frames import Frame

__all__ = ["PlannedFrames"]

Group = TypeVar("Group", int, tuple[int, int])


class PlannedFrames(Sequence[Frame]):
    """Frames of a task in ascending order; a `Frame` is made when it is read.

    Args:
        table: Names and sizes: one entry for each frame of the task, or one for all frames of a video.
        numbers: The relative numbers of the frames, ascending.
    """

    __slots__ = ("_is_of_video", "_table", "numbers")

    def __init__(self, table: FrameTable, numbers: Iterable[int]) -> None:
        self._table = table
        self._is_of_video = len(table) == 1
        self.numbers = numbers if isinstance(numbers, array) else array("I", numbers)

    @property
    def by_number(self) -> Mapping[int, Frame]:
        """The frames by their numbers."""
        return _ByNumber(self)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> PlannedFrames: ...

    def __getitem__(self, index: int | slice) -> Frame | PlannedFrames:
        if isinstance(index, slice):
            return PlannedFrames(self._table, self.numbers[index])
        return self._frame(self.numbers[index])

    def __iter__(self) -> Iterator[Frame]:
        return map(self._frame, self.numbers)

    def __contains__(self, frame: object) -> bool:
        return isinstance(frame, Frame) and self.has(frame.number) and self._frame(frame.number) == frame

    def has(self, number: int) -> bool:
        """Whether the frame with this number is one of them."""
        index = bisect_left(self.numbers, number)
        return index < len(self.numbers) and self.numbers[index] == number

    def between(self, first: int, last: int) -> PlannedFrames:
        """The frames from the first to the last number."""
        return self[bisect_left(self.numbers, first) : bisect_right(self.numbers, last)]

    def count_between(self, first: int, last: int) -> int:
        """The number of frames from the first to the last number."""
        return bisect_right(self.numbers, last) - bisect_left(self.numbers, first)

    def where(self, keep: Callable[[int], object]) -> PlannedFrames:
        """The frames whose numbers a predicate accepts."""
        return PlannedFrames(self._table, array("I", filter(keep, self.numbers)))

    def by(
        self, group_of: Callable[[int], Group], *, is_backward: bool = False
    ) -> Iterator[tuple[Group, PlannedFrames]]:
        """The frames group by group.

        Args:
            group_of: The group of a frame by its number; it must not descend from frame to frame.
            is_backward: Whether the last group comes first.
        """
        length = len(self.numbers)
        place = 0
        while place < length:
            at = length - 1 - place if is_backward else place
            group = group_of(self.numbers[at])
            begin = bisect_left(self.numbers, group, hi=at, key=group_of)
            end = bisect_right(self.numbers, group, lo=at, key=group_of)
            yield group, self[begin:end]
            place += end - begin

    def _frame(self, number: int) -> Frame:
        meta = self._table[0 if self._is_of_video else number]
        return Frame(number, meta.name, meta.width, meta.height)


class _ByNumber(Mapping[int, Frame]):
    def __init__(self, frames: PlannedFrames) -> None:
        self._frames = frames

    def __getitem__(self, number: int) -> Frame:
        index = bisect_left(self._frames.numbers, number)
        if self._frames.numbers[index : index + 1].tolist() != [number]:
            raise KeyError(number)
        return self._frames[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._frames.numbers)

    def __len__(self) -> int:
        return len(self._frames)
