"""Tags and shapes of a task on disk, read frame by frame: a task may have millions."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from prefect_cvat.exceptions import ResponseTooLargeError, StorageError
from prefect_cvat.geometry.outlines import has_outline
from prefect_cvat.messages.argument_names import argument

__all__ = ["MAX_BYTES_ON_FRAME", "MAX_ON_FRAME", "AnnotationsByFrame", "FrameAnnotations"]

MAX_ON_FRAME = 20_000
"""Maximum number of ground-truth annotations, and of predictions, on one frame."""

MAX_BYTES_ON_FRAME = 12 * 2**20
"""Maximum size of these annotations as JSON, in bytes; objects take about six times as much memory."""

_BUFFER_BYTES = 2**20


class AnnotationsByFrame:
    """Tags or shapes, as the server's JSON objects, in a temporary file; 16 bytes of each are in memory.

    The file has no name, so it is deleted with this object or with the process. Not thread-safe.

    Attributes:
        labels: Number of annotations by label id.
        outlined: Ids of labels that have shapes with outlines.
    """

    def __init__(self) -> None:
        self.labels: Counter[int] = Counter()
        self.outlined: set[int] = set()
        self._file: IO[bytes] | None = None
        self._end = 0
        self._frames, self._starts, self._lengths = array("I"), array("Q"), array("I")
        self._order: tuple[NDArray[np.uint32], NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, annotation: Mapping[str, Any]) -> None:
        """Add a tag or a shape.

        Raises:
            StorageError: It cannot be written to disk.
        """
        content = to_json(annotation) + b","  # so that those of a frame are parsed as one list
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=_BUFFER_BYTES)  # noqa: SIM115 (closed with this object)
                weakref.finalize(self, self._file.close)
            self._file.write(content)
        except OSError as error:
            raise StorageError(f"the annotations to compare cannot be written to disk: {error}") from error
        self.labels[annotation["label_id"]] += 1
        if "type" in annotation and has_outline(annotation):
            self.outlined.add(annotation["label_id"])
        self._frames.append(annotation["frame"])
        self._starts.append(self._end)
        self._lengths.append(len(content))
        self._end += len(content)
        self._order = None

    def has(self, frame: int) -> bool:
        """Whether there is an annotation on a frame."""
        begin, end = self._places(frame)
        return end > begin

    def of(self, frame: int) -> list[dict[str, Any]]:
        """The annotations on a frame, in the order in which they were added.

        Raises:
            ResponseTooLargeError: There are more than `MAX_ON_FRAME` or `MAX_BYTES_ON_FRAME`.
            StorageError: They cannot be read from disk.
        """
        begin, end = self._places(frame)
        if begin == end:
            return []
        places = self._sorted()[1][begin:end]
        starts = np.frombuffer(self._starts, np.uint64)[places].tolist()
        lengths = np.frombuffer(self._lengths, np.uint32)[places].tolist()
        if end - begin > MAX_ON_FRAME or sum(lengths) > MAX_BYTES_ON_FRAME:
            raise ResponseTooLargeError(
                f"frame {frame} has {end - begin} annotations of {sum(lengths)} bytes; the"
                f" maximum is {MAX_ON_FRAME} of {MAX_BYTES_ON_FRAME} bytes; leave the frame out with"
                f" {argument('frames')}"
            )
        try:
            content = self._read(starts, lengths)
        except OSError as error:
            raise StorageError(f"the annotations to compare cannot be read from disk: {error}") from error
        found: list[dict[str, Any]] = from_json(b"[%b]" % content[:-1])
        return found

    def _read(self, starts: list[int], lengths: list[int]) -> bytes:
        assert self._file is not None
        self._file.flush()
        number = self._file.fileno()
        if starts[-1] + lengths[-1] - starts[0] == sum(lengths):  # usually contiguous
            return os.pread(number, sum(lengths), starts[0])
        parts = zip(starts, lengths, strict=True)
        return b"".join(os.pread(number, length, start) for start, length in parts)

    def _places(self, frame: int) -> tuple[int, int]:
        frames = self._sorted()[0]
        begin, end = np.searchsorted(frames, [frame, frame + 1])
        return int(begin), int(end)

    def _sorted(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The frames of the annotations in ascending order, and the indices of the annotations."""
        if self._order is None:
            frames = np.array(self._frames, np.uint32)
            order = np.argsort(frames, kind="stable")
            self._order = frames[order], order
        return self._order


@dataclass(frozen=True, slots=True)
class FrameAnnotations:
    """Tags and shapes by frame; tracks are shapes on each of their frames."""

    tags: AnnotationsByFrame = field(default_factory=AnnotationsByFrame)
    shapes: AnnotationsByFrame = field(default_factory=AnnotationsByFrame)

    def __bool__(self) -> bool:
        return bool(len(self.tags) or len(self.shapes))

    def add(self, kind: str, annotation: Mapping[str, Any]) -> None:
        """Add an annotation of `tags`, or else a shape.

        Raises:
            StorageError: It cannot be written to disk.
        """
        (self.tags if kind == "tags" else self.shapes).add(annotation)

    def has(self, frame: int) -> bool:
        """Whether there is an annotation on a frame."""
        return self.shapes.has(frame) or self.tags.has(frame)

    @property
    def labels(self) -> Counter[int]:
        """Number of annotations by label id."""
        return self.shapes.labels + self.tags.labels
