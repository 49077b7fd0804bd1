"""Frames, chunks on disk and detections: the data between `media` and `inference`."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prefect_cvat.models import (
    LabeledImageRequest,
    LabeledShapeRequest,
)

__all__ = [
    "BatchDetections",
    "ChunkBatch",
    "ChunkFile",
    "ChunkType",
    "Frame",
    "FrameDetections",
    "Quality",
    "UnnumberedFrame",
]

Quality = Literal["original", "compressed"]
"""The quality of images, in CVAT's words."""

ChunkType = Literal["imageset", "video"]
"""The type of a chunk, in CVAT's words: a zip file of images, or an mp4."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a task.

    Attributes:
        number: Its relative number, 0..size-1 of the task.
        name: Its file name in the task.
        width: Pixels.
        height: Pixels.
    """

    number: int
    name: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"frame {self.number} ({self.name})"


class UnnumberedFrame(Frame):
    """An image that CVAT has sent without the number of its frame; its name stands for it in messages."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """A chunk on disk.

    Attributes:
        number: The chunk's number in the task.
        path: The file.
        first_frame: The relative number of its first frame.
        length: Its number of frames, deleted ones included.
        type: Its type.
        max_image_bytes: Maximum memory for decoding one of its images, in bytes; None takes the setting.
    """

    number: int
    path: Path
    first_frame: int
    length: int
    type: ChunkType = "imageset"
    max_image_bytes: int | None = None

    def __str__(self) -> str:
        return f"chunk {self.number} (frames {self.first_frame}-{self.first_frame + self.length - 1})"


class ChunkBatch:
    """The chunks of a batch on disk.

    Prefect keeps parameters and results long after their last use: this object is emptied when its chunks
    are no longer needed.

    Attributes:
        chunks: The chunks.
        known: Detections of an earlier run on other frames of the batch; their chunks are not fetched.
    """

    __slots__ = ("chunks", "known")

    def __init__(self, chunks: Sequence[ChunkFile], known: Sequence[FrameDetections] = ()) -> None:
        self.chunks = tuple(chunks)
        self.known = tuple(known)

    def empty(self) -> None:
        """Drop its content; the chunks stay on disk."""
        self.chunks = ()
        self.known = ()


class FrameDetections:
    """The detections of a function on one frame, in the function's labels.

    Not a dataclass: Prefect traverses lists, dicts, dataclasses and models that are passed between Prefect
    tasks, which takes milliseconds per thousand shapes.
    """

    __slots__ = ("error", "frame", "shapes", "tags")

    def __init__(
        self,
        frame: int,
        tags: list[LabeledImageRequest],
        shapes: list[LabeledShapeRequest],
        error: str | None = None,
    ) -> None:
        self.frame = frame
        self.tags = tags
        self.shapes = shapes
        self.error = error


class BatchDetections:
    """The detections of a batch, until they are used.

    Plain, so that Prefect does not walk through it; emptied, because Prefect keeps it.
    """

    __slots__ = ("_frames",)

    def __init__(self, frames: Iterable[Any]) -> None:
        self._frames = deque(frames)

    def taken(self) -> Iterator[Any]:
        """The detections of one frame after the other; each is released."""
        while self._frames:
            yield self._frames.popleft()
