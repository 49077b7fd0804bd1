"""What a dataset is made of, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.export.names import FileNames
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clipping import is_empty
from prefect_cvat.geometry.coco import WITH_AREA
from prefect_cvat.models import Label
from prefect_cvat.number_set import NumberSet
from prefect_cvat.planning.planned_frames import PlannedFrames

__all__ = ["Content", "PackFile", "Written", "readable"]

Annotation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """What a dataset is made of.

    Attributes:
        labels: The labels of the task, in its order.
        frames: The frames.
        names: What their files are called.
        packs: Tags and shapes on these frames, as the server's JSON objects, a part of them at a time. May be
            gone through several times.
    """

    labels: Sequence[Label]
    frames: PlannedFrames
    names: FileNames
    packs: Iterable[Sequence[Annotation]]

    def annotations(self) -> Iterator[Annotation]:
        """The tags and shapes, one after the other."""
        for pack in self.packs:
            yield from pack


@dataclass(slots=True)
class Written:
    """What became of it.

    Attributes:
        labels: How many annotations of each label were written.
        frames: The frames that they are on.
        outlines: Whether there are outlines among them.
        left_out: How many are empty or of a kind that the format has no place for.
        approximated: How many are not quite what they were, by how.
    """

    labels: Counter[str] = field(default_factory=Counter)
    frames: NumberSet = field(default_factory=NumberSet)
    outlines: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    approximated: Counter[str] = field(default_factory=Counter)

    def add(self, label: str, frame: int) -> None:
        """Count an annotation."""
        self.labels[label] += 1
        self.frames.add(frame)

    def leave_out(self, annotation: Annotation) -> None:
        """Count an annotation that is empty, or that the format has no place for."""
        kind = annotation.get("type")
        if kind in WITH_AREA and is_empty(kind, annotation["points"]):
            self.left_out["empty shapes"] += 1
        else:
            self.left_out["tags" if kind is None else f"shapes of type {kind}"] += 1


class PackFile:
    """Packs of annotations in a file: in memory, those of a large task would take gigabytes.

    Args:
        path: The file; it is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch(exist_ok=False)

    def append(self, pack: Sequence[Annotation]) -> None:
        """Add a pack."""
        with self._path.open("ab") as file:
            file.write(to_json(pack) + b"\n")

    def __iter__(self) -> Iterator[list[Annotation]]:
        with self._path.open("rb") as file:
            for line in file:
                yield from_json(line)


@contextmanager
def readable(shape: Annotation, frame: Frame) -> Iterator[None]:
    """Say which shape it is that cannot be read."""
    try:
        yield
    except (ValueError, IndexError) as error:
        raise InvalidResponseError(
            f"the {shape['type']} {shape.get('id', '')} on {frame} cannot be read: {error}"
        ) from error
