"""Frames, chunks on disk, and what was found on a frame: what media and inference hand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefect_cvat.models import (
    LabeledImageRequest,
    LabeledShapeRequest,
)

__all__ = ["ChunkBatch", "ChunkFile", "ChunkType", "Frame", "FrameDetections", "Quality"]

Quality = Literal["original", "compressed"]
"""The quality of images, in CVAT's words."""

ChunkType = Literal["imageset", "video"]
"""What a chunk is: a zip file of images, or an mp4. The words are CVAT's."""


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


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """A chunk on disk.

    Attributes:
        number: The chunk's number in the task.
        path: Where its bytes are.
        first_frame: The relative number of its first frame.
        length: How many frames it must hold, deleted ones included.
        type: What it is.
    """

    number: int
    path: Path
    first_frame: int
    length: int
    type: ChunkType = "imageset"

    def __str__(self) -> str:
        return f"chunk {self.number} (frames {self.first_frame}-{self.first_frame + self.length - 1})"


class ChunkBatch:
    """What was fetched for a batch, until it has been used.

    Prefect keeps parameters and results alive long after their last use. A box is what it keeps; the
    chunks themselves lie on disk, where batches may share them, and whoever has made use of them empties the
    box.

    Attributes:
        chunks: The chunks.
        known: What was found on other frames of the batch in an earlier run; their chunks are not fetched.
    """

    __slots__ = ("chunks", "known")

    def __init__(self, chunks: Sequence[ChunkFile], known: Sequence[FrameDetections] = ()) -> None:
        self.chunks = tuple(chunks)
        self.known = tuple(known)

    def empty(self) -> None:
        """Let go of what is in it; the chunks stay on disk."""
        self.chunks = ()
        self.known = ()


class FrameDetections:
    """What a function found on one frame, in the function's own labels.

    A plain object on purpose: Prefect walks through lists, dicts, dataclasses and models that are
    passed between Prefect tasks, at a price of milliseconds per thousand shapes.
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
