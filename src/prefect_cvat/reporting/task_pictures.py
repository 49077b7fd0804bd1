"""A few frames of a task with the annotations that the server has on them, as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from prefect_cvat.annotations.request_bodies import frames_of
from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.job_index import JobIndex
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.keyframes import interpolate
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job, Label, Sublabel
from prefect_cvat.options.selection import Selection
from prefect_cvat.planning.plan import Plan
from prefect_cvat.reporting.frame_svg import AnnotatedFrame, render_frame, shrink_image
from prefect_cvat.reporting.preview import open_task_frames

__all__ = ["OnFrame", "Picture", "annotations_on", "draw_task_frames", "label_names"]

WIDTH = 640
"""Pixels of the longer side of a picture."""

MOST_ANNOTATIONS = 300
"""How many annotations are drawn on a frame at the most; more could not be told apart."""

MOST_TAGS = 5
"""How many tags of a frame are named."""

MOST_BYTES = 220_000
"""How large a picture is at the most: some 300,000 bytes in base64."""


@dataclass(frozen=True)
class Picture:
    """A frame with its annotations.

    Attributes:
        description: What it shows, in plain words.
        svg: An SVG of at most `MOST_BYTES` that needs no other file.
    """

    description: str
    svg: str


class OnFrame:
    """The annotations on a frame, as the server's JSON objects, tracks as the shapes that they have there.

    Attributes:
        tags: The tags.
        shapes: The shapes; those of tracks have a `track`, a number.
        count: How many annotations there are; not all of them may be held.
    """

    def __init__(self, most: int | None) -> None:
        self.tags: list[Mapping[str, Any]] = []
        self.shapes: list[Mapping[str, Any]] = []
        self.count = 0
        self._most = most

    def add(self, kind: str, annotation: Mapping[str, Any]) -> None:
        """Count an annotation, and hold it unless there are too many."""
        self.count += 1
        if self._most is None or self.count <= self._most:
            (self.tags if kind == "tags" else self.shapes).append(annotation)


def draw_task_frames(client: Client, plan: Plan, how_many: int = 4) -> list[Picture]:
    """Draw a few frames of a task, from all over it, those that a machine has annotated most.

    So many jobs are read at the most, each twice and one annotation at a time, and so many chunks fetched.

    Args:
        client: The server.
        plan: What the run was to do; only frames of it are drawn.
        how_many: How many frames at the most. None is drawn that has no annotations of a machine.

    Raises:
        PrefectCvatError: The server does not give what is needed.
    """
    jobs = plan.jobs[:: -(-len(plan.jobs) // how_many) or 1]
    chosen = _choose_frames(client, plan, jobs, how_many)
    names = label_names(plan.info.labels)
    found: dict[int, OnFrame] = {}
    for job in jobs:
        of_job = [n for n in chosen if job.start_frame <= n <= job.stop_frame and n not in found]
        if of_job:
            annotations = client.iter_job_annotations(job.id)
            found |= annotations_on(annotations, of_job, names, most=MOST_ANNOTATIONS)
    if not found:
        return []
    with spool_folder() as folder:
        seen = [job.id for job in plan.info.jobs] if plan.info.through_jobs else None
        selection = Selection(frames=chosen, jobs=seen)
        return [
            _picture(frame, shrink_image(image, frame, WIDTH), found[frame.number], names)
            for frame, image in open_task_frames(client, plan.task.id, selection, folder)
            if found[frame.number].count
        ]


def annotations_on(
    annotations: Iterable[tuple[str, Mapping[str, Any]]],
    frames: Collection[int],
    labels: Container[int],
    *,
    most: int | None = None,
) -> dict[int, OnFrame]:
    """Pick out the annotations on some frames.

    Args:
        annotations: Any number of them, each with the name of its kind.
        frames: The frames.
        labels: The ids of the labels to look at; a task may have got another since it was read.
        most: How many to hold of a frame; None holds all.

    Returns:
        What is on each frame.
    """
    found = {frame: OnFrame(most) for frame in frames}
    tracks = 0
    for kind, annotation in annotations:
        tracks += kind == "tracks"
        if annotation["label_id"] not in labels:
            continue
        if kind == "tracks":
            for frame, on_frame in found.items():
                if (shape := interpolate(annotation, frame)) is not None:
                    on_frame.add(kind, {**shape, "track": tracks})
        elif annotation["frame"] in found:
            found[annotation["frame"]].add(kind, annotation)
    return found


def label_names(labels: Iterable[Label]) -> dict[int, str]:
    """The names of labels and their sublabels, by id."""
    owners: list[Sublabel] = [owner for label in labels for owner in (label, *label.sublabels)]
    return {owner.id: owner.name for owner in owners}


def _choose_frames(client: Client, plan: Plan, jobs: Sequence[Job], how_many: int) -> list[int]:
    """From each of `how_many` parts of the frames of some jobs the one that has most of a machine."""
    counts: Counter[int] = Counter()
    for job in jobs:
        for _, annotation in client.iter_job_annotations(job.id):
            if annotation.get("source") in ("auto", "semi-auto"):
                counts.update(frames_of(annotation))
    index = JobIndex(jobs)
    frames = plan.frames.where(lambda number: index.between(number, number)).numbers
    bounds = [len(frames) * part // how_many for part in range(how_many + 1)]
    parts = [frames[start:stop] for start, stop in pairwise(bounds)]
    best = [max(part, key=lambda number: counts[number]) for part in parts if part]
    return [number for number in best if counts[number]]


def _picture(frame: Frame, jpeg: bytes, on_frame: OnFrame, names: Mapping[int, str]) -> Picture:
    """Draw a frame: its image smaller, and fewer shapes, until that is small enough."""
    annotated = AnnotatedFrame(frame, jpeg, on_frame.tags, on_frame.shapes)
    width, shapes, count = WIDTH, on_frame.shapes, on_frame.count

    def draw(shapes: Sequence[Mapping[str, Any]]) -> str:
        return render_frame(replace(annotated, shapes=shapes), names, width=width)

    while len(draw(()).encode()) > MOST_BYTES * 3 // 4:
        width = width * 3 // 4
    while len((svg := draw(shapes)).encode()) > MOST_BYTES:
        shapes = shapes[: len(shapes) // 2]
    description = f"{annotated.frame}: {pluralize(count, 'annotation')}"
    if annotated.tags:
        tags = [names[tag["label_id"]] for tag in annotated.tags]
        description += f"; tags: {', '.join(tags[:MOST_TAGS])}{', ...' if len(tags) > MOST_TAGS else ''}"
    if len(shapes) + len(annotated.tags) < count:
        description += f"; {pluralize(len(shapes), 'shape is', 'shapes are')} drawn"
    return Picture(description, svg)
