"""Draws sample frames of a task with the annotations that the server has on them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from prefect_cvat.annotations.request_bodies import frames_of
from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.job_index import JobIndex
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.media.task_frames import read_task_frames
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job, Label, Sublabel
from prefect_cvat.planning.plan import Plan
from prefect_cvat.rendering.frame_svg import AnnotatedFrame, render_frame, shrink_image

__all__ = [
    "AnnotationsOnFrame",
    "Drawing",
    "annotations_on",
    "draw_sample_frames",
    "each_on_frames",
    "label_names",
]

WIDTH = 640
"""Pixels of the longer side of a drawing."""

MAX_ANNOTATIONS = 300
"""Maximum number of annotations drawn on a frame. More of them could not be distinguished."""

MAX_TAGS = 5
"""Maximum number of tags in a description."""

MAX_BYTES = 220_000
"""Maximum size of a drawing: about 300,000 bytes in base64."""


@dataclass(frozen=True)
class Drawing:
    """A frame with its annotations, drawn.

    Attributes:
        frame: The number of the frame.
        description: The frame, the number of its annotations, and its tags.
        svg: A self-contained SVG of at most `MAX_BYTES`.
    """

    frame: int
    description: str
    svg: str


class AnnotationsOnFrame:
    """The annotations on a frame, as the server's JSON objects; of a track, its shape on that frame.

    Args:
        limit: Maximum number of annotations to keep; None keeps all.

    Attributes:
        tags: The tags.
        shapes: The shapes. The shape of a track has the number of the track as `track`.
        count: The number of all annotations, including those that are not kept.
    """

    def __init__(self, limit: int | None) -> None:
        self.tags: list[Mapping[str, Any]] = []
        self.shapes: list[Mapping[str, Any]] = []
        self.count = 0
        self._limit = limit

    def add(self, kind: str, annotation: Mapping[str, Any]) -> None:
        """Count an annotation, and keep it if the limit is not reached."""
        self.count += 1
        if self._limit is None or self.count <= self._limit:
            (self.tags if kind == "tags" else self.shapes).append(annotation)


def draw_sample_frames(client: Client, plan: Plan, max_frames: int = 4) -> list[Drawing]:
    """Draw the frames with most automatic annotations, one from each part of the task.

    At most `max_frames` jobs are read (twice, one annotation at a time) and as many chunks downloaded.

    Args:
        client: The server.
        plan: The plan of a run. Only its frames are drawn.
        max_frames: Maximum number of frames. Frames without automatic annotations are not drawn.

    Raises:
        PrefectCvatError: A request to the server failed.
    """
    jobs = plan.jobs[:: -(-len(plan.jobs) // max_frames) or 1]
    chosen = _choose_frames(client, plan, jobs, max_frames)
    names = label_names(plan.info.labels)
    found: dict[int, AnnotationsOnFrame] = {}
    for job in jobs:
        in_job = [n for n in chosen if job.start_frame <= n <= job.stop_frame and n not in found]
        if in_job:
            annotations = client.iter_job_annotations(job.id)
            found |= annotations_on(annotations, in_job, names, limit=MAX_ANNOTATIONS)
    if not found:
        return []
    with spool_folder() as folder:
        annotated = [number for number in sorted(found) if found[number].count]
        drawn = replace(plan, frames=plan.info.frames_of(annotated))
        return [
            _draw(frame, shrink_image(image, frame, WIDTH), found[frame.number], names)
            for frame, image in read_task_frames(client, drawn, folder)
        ]


def annotations_on(
    annotations: Iterable[tuple[str, Mapping[str, Any]]],
    frames: Collection[int],
    labels: Container[int],
    *,
    limit: int | None = None,
) -> dict[int, AnnotationsOnFrame]:
    """Select the annotations on some frames.

    Args:
        annotations: Annotations, each with the name of its kind (`tags`, `shapes` or `tracks`).
        frames: The numbers of the frames.
        labels: The ids of known labels. Annotations of other labels are skipped: a label may have been added
            to the task since its labels were read.
        limit: Maximum number of annotations to keep for a frame; None keeps all.

    Returns:
        The annotations on each frame, by its number.
    """
    found = {frame: AnnotationsOnFrame(limit) for frame in frames}
    for frame, kind, annotation in each_on_frames(annotations, sorted(found), labels):
        found[frame].add(kind, annotation)
    return found


def each_on_frames(
    annotations: Iterable[tuple[str, Mapping[str, Any]]], frames: Sequence[int], labels: Container[int]
) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Iterate over the annotations on some frames; of a track, over its shapes on them.

    Args:
        annotations: Annotations, each with the name of its kind (`tags`, `shapes` or `tracks`).
        frames: The numbers of the frames, ascending.
        labels: The ids of known labels, see `annotations_on`.

    Yields:
        The number of the frame, the kind, and the tag or shape; that of a track has the number of the track
        as `track`.
    """
    wanted = frozenset(frames)
    tracks = 0
    for kind, annotation in annotations:
        tracks += kind == "tracks"
        if annotation["label_id"] not in labels:
            continue
        if kind == "tracks":
            source = annotation.get("source")
            begin = min((shape["frame"] for shape in annotation["shapes"]), default=0)
            for frame in frames[bisect_left(frames, begin) :]:
                if (shape := interpolate(annotation, frame)) is not None:
                    yield frame, kind, {**shape, "source": source, "track": tracks}
        elif annotation["frame"] in wanted:
            yield annotation["frame"], kind, annotation


def label_names(labels: Iterable[Label]) -> dict[int, str]:
    """The names of labels and their sublabels, by id."""
    owners: list[Sublabel] = [owner for label in labels for owner in (label, *label.sublabels)]
    return {owner.id: owner.name for owner in owners}


def _choose_frames(client: Client, plan: Plan, jobs: Sequence[Job], max_frames: int) -> list[int]:
    """Choose the frame with most automatic annotations in each of `max_frames` parts of the jobs' frames."""
    counts: Counter[int] = Counter()
    for job in jobs:
        for _, annotation in client.iter_job_annotations(job.id):
            if annotation.get("source") in ("auto", "semi-auto"):
                counts.update(frames_of(annotation))
    index = JobIndex(jobs)
    frames = plan.frames.where(lambda number: index.between(number, number)).numbers
    bounds = [len(frames) * part // max_frames for part in range(max_frames + 1)]
    parts = [frames[start:stop] for start, stop in pairwise(bounds)]
    best = [max(part, key=lambda number: counts[number]) for part in parts if part]
    return [number for number in best if counts[number]]


def _draw(frame: Frame, jpeg: bytes, on_frame: AnnotationsOnFrame, names: Mapping[int, str]) -> Drawing:
    """Draw a frame; the image is scaled down and shapes are left out until the SVG is small enough."""
    annotated = AnnotatedFrame(frame, jpeg, on_frame.tags, on_frame.shapes)
    width, shapes, count = WIDTH, on_frame.shapes, on_frame.count

    def render(shapes: Sequence[Mapping[str, Any]]) -> str:
        return render_frame(replace(annotated, shapes=shapes), names, width=width)

    while len(render(()).encode()) > MAX_BYTES * 3 // 4:
        width = width * 3 // 4
    while len((svg := render(shapes)).encode()) > MAX_BYTES:
        shapes = shapes[: len(shapes) // 2]
    description = f"{annotated.frame}: {pluralize(count, 'annotation')}"
    if annotated.tags:
        tags = [names[tag["label_id"]] for tag in annotated.tags]
        description += f"; tags: {', '.join(tags[:MAX_TAGS])}{', ...' if len(tags) > MAX_TAGS else ''}"
    if len(shapes) + len(annotated.tags) < count:
        description += f"; {pluralize(len(shapes), 'shape is', 'shapes are')} drawn"
    return Drawing(frame.number, description, svg)
