"""Reads the annotations of a task frame by frame, with tracks interpolated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.inputs.annotations_by_frame import FrameAnnotations
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.planning.plan import TaskInfo

__all__ = ["AnnotatedPart", "annotations_on_frames", "collect_annotations", "read_annotations"]

AnnotatedPart: TypeAlias = tuple[Iterable[tuple[str, dict[str, Any]]], range]
"""Annotations, each with its kind (`tags`, `shapes` or `tracks`), and the frames that they cover."""


def read_annotations(client: Client, info: TaskInfo) -> Iterator[AnnotatedPart]:
    """Stream the annotations of a task, or of its visible jobs if the user may not see the task.

    A frame that two jobs share is read from the first of them.

    Raises:
        InvalidResponseError: While iterating: an annotation has a label that the task does not have.
    """
    if not info.through_jobs:
        yield _with_known_labels(client.iter_task_annotations(info.task.id), info), range(info.meta.size)
        return
    reached = -1
    for job in sorted(info.jobs, key=lambda job: job.start_frame):
        own = range(max(job.start_frame, reached + 1), job.stop_frame + 1)
        yield _with_known_labels(client.iter_job_annotations(job.id), info), own
        reached = max(reached, job.stop_frame)


def _with_known_labels(
    annotations: Iterable[tuple[str, dict[str, Any]]], info: TaskInfo
) -> Iterator[tuple[str, dict[str, Any]]]:
    known = {label.id for label in info.labels}
    for kind, annotation in annotations:
        if annotation["label_id"] not in known:
            raise InvalidResponseError(
                f"task {info.task.id}: annotation {annotation.get('id')} has the label"
                f" {annotation['label_id']}, which the task did not have when it was read; run it again if"
                " the label is new"
            )
        yield kind, annotation


def collect_annotations(
    parts: Iterable[AnnotatedPart],
    frames: Sequence[Frame],
    *,
    automatic: bool = False,
    change: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
    others: FrameAnnotations | None = None,
) -> FrameAnnotations:
    """Collect the manual, or the automatic, annotations on frames. Tracks are interpolated as in CVAT.

    Args:
        parts: The annotations.
        frames: The frames.
        automatic: Collect annotations of source `auto` instead of manual ones.
        change: Converts each annotation; None as its result drops the annotation.
        others: Receives the annotations of the other source, unchanged; None if they are not needed.

    Raises:
        StorageError: The annotations cannot be written to disk.
    """
    found = FrameAnnotations()
    for kind, annotation, is_automatic in _on_frames(parts, frames, automatic if others is None else None):
        if is_automatic is automatic or others is None:
            changed = annotation if change is None else change(annotation)
            if changed is not None:
                found.add(kind, changed)
        else:
            others.add(kind, annotation)
    return found


def annotations_on_frames(
    parts: Iterable[AnnotatedPart], frames: Sequence[Frame], *, automatic: bool | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over annotations as `collect_annotations` does; all of them if `automatic` is None."""
    return ((kind, annotation) for kind, annotation, _ in _on_frames(parts, frames, automatic))


def _on_frames(
    parts: Iterable[AnnotatedPart], frames: Sequence[Frame], automatic: bool | None
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Iterate over annotations, each with its kind and whether it is automatic."""
    for part, frames_of_part in parts:
        ascending = [frame.number for frame in frames if frame.number in frames_of_part]
        numbers = frozenset(ascending)
        for kind, annotation in part:
            is_automatic = annotation.get("source") == "auto"
            if automatic is not None and is_automatic is not automatic:
                continue
            if kind != "tracks":
                if annotation["frame"] in numbers:
                    yield kind, annotation, is_automatic
                continue
            for number in ascending:
                if (shape := interpolate(annotation, number)) is not None:
                    yield "shapes", shape, is_automatic
