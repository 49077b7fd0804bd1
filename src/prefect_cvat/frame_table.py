"""Names and sizes of a task's frames, in a fraction of the memory of objects."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

__all__ = ["MAX_FRAMES", "FrameMeta", "FrameTable"]

MAX_FRAMES = 4_000_000
"""Maximum number of frames of a task. A million take about 60 MB of memory, plan included."""

_MAX_SIDE_PIXELS = 2**31 - 1


@dataclass(frozen=True, slots=True)
class FrameMeta:
    """Name and size (pixels) of one frame."""

    name: str
    width: int
    height: int


class FrameTable(Sequence[FrameMeta]):
    """Names and sizes of frames, in their order.

    A million frames take about 40 MB, of which 20 are the names.

    Args:
        frames: The frames as JSON objects of the server, or as `FrameMeta`.

    Raises:
        ValueError: A frame is invalid; the message names its place.
    """

    __slots__ = ("_ends", "_heights", "_names", "_widths")

    def __init__(self, frames: Iterable[Mapping[str, Any] | FrameMeta] = ()) -> None:
        self._names = bytearray()
        self._ends = array("Q")
        self._widths = array("I")
        self._heights = array("I")
        for frame in frames:
            if isinstance(frame, FrameMeta):
                self.append(frame.name, frame.width, frame.height)
            else:
                self.append_object(frame)

    def append(self, name: str, width: int, height: int) -> None:
        """Add a frame."""
        self._names += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._names))
        self._widths.append(width)
        self._heights.append(height)

    def append_object(self, frame: object) -> None:
        """Add a frame, given as a JSON object of the server.

        Raises:
            ValueError: It is not such an object, or lacks a field.
        """
        where = f"frames.{len(self._ends)}"
        if type(frame) is not dict:
            raise ValueError(f"{where}: should be an object, not {type(frame).__name__}")
        name, width, height = frame.get("name"), frame.get("width"), frame.get("height")
        if type(name) is not str:
            raise ValueError(f"{where}.name: should be a string, not {_describe(name)}")
        for side, value in (("width", width), ("height", height)):
            if type(value) is not int or not 0 <= value <= _MAX_SIDE_PIXELS:
                raise ValueError(f"{where}.{side}: should be a number of pixels, not {_describe(value)}")
        assert type(width) is int
        assert type(height) is int
        self.append(name, width, height)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> FrameMeta: ...

    @overload
    def __getitem__(self, index: slice) -> FrameTable: ...

    def __getitem__(self, index: int | slice) -> FrameMeta | FrameTable:
        if isinstance(index, slice):
            return FrameTable(self[i] for i in range(*index.indices(len(self))))
        if index < 0:
            index += len(self)
        end = self._ends[index]
        begin = self._ends[index - 1] if index else 0
        name = self._names[begin:end].decode("utf-8", "surrogatepass")
        return FrameMeta(name, self._widths[index], self._heights[index])

    def __iter__(self) -> Iterator[FrameMeta]:
        for index in range(len(self)):
            yield self[index]


def _describe(value: object) -> str:
    return "missing" if value is None else f"{type(value).__name__} {str(value)[:50]!r}"
