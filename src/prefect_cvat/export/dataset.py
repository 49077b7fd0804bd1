"""The content of a dataset, its annotations on disk, and a summary of what was written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.export.frame_file_names import FileNames
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_at_image_edge import is_empty
from prefect_cvat.geometry.outlines import WITH_AREA
from prefect_cvat.models import Label
from prefect_cvat.number_set import NumberSet
from prefect_cvat.planning.planned_frames import PlannedFrames

__all__ = ["AnnotationFile", "Dataset", "WriteSummary", "unreadable_as_error"]

Annotation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The content of a dataset.

    Attributes:
        labels: The labels of the task, in the order of the task.
        frames: The frames.
        names: The file names of the frames.
        batches: The tags and shapes on these frames, as the server's JSON objects, in lists that fit in
            memory. They can be iterated several times.
    """

    labels: Sequence[Label]
    frames: PlannedFrames
    names: FileNames
    batches: Iterable[Sequence[Annotation]]

    def annotations(self) -> Iterator[Annotation]:
        """Iterate over all tags and shapes."""
        for batch in self.batches:
            yield from batch


@dataclass(slots=True)
class WriteSummary:
    """What was written, and what was not.

    Attributes:
        labels: The number of annotations written, by label.
        frames: The numbers of the frames with annotations.
        outlines: Whether some annotations have outlines.
        left_out: The number of annotations that are empty or not supported by the format, by reason.
        approximated: The number of annotations that the format cannot represent exactly, by reason.
    """

    labels: Counter[str] = field(default_factory=Counter)
    frames: NumberSet = field(default_factory=NumberSet)
    outlines: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    approximated: Counter[str] = field(default_factory=Counter)

    def add(self, label: str, frame: int) -> None:
        """Count an annotation that was written."""
        self.labels[label] += 1
        self.frames.add(frame)

    def leave_out(self, annotation: Annotation) -> None:
        """Count an annotation that is empty or not supported by the format."""
        kind = annotation.get("type")
        if kind in WITH_AREA and is_empty(kind, annotation["points"]):
            self.left_out["empty shapes"] += 1
        else:
            self.left_out["tags" if kind is None else f"shapes of type {kind}"] += 1


class AnnotationFile:
    """Annotations in a temporary file: in memory, those of a large task would take gigabytes.

    Args:
        path: The file; it is created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(exist_ok=False)

    def append(self, batch: Sequence[Annotation]) -> None:
        """Append a list of annotations. Iteration returns the same lists."""
        with self._path.open("ab") as file:
            file.write(to_json(batch) + b"\n")

    def __iter__(self) -> Iterator[list[Annotation]]:
        with self._path.open("rb") as file:
            for line in file:
                yield from_json(line)


@contextmanager
def unreadable_as_error(shape: Annotation, frame: Frame) -> Iterator[None]:
    """Raise an `InvalidResponseError` that names the shape if it cannot be read."""
    try:
        yield
    except (ValueError, IndexError) as error:
        raise InvalidResponseError(
            f"the {shape['type']} {shape.get('id', '')} on {frame} cannot be read: {error}"
        ) from error
