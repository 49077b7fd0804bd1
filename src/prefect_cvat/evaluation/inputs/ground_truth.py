"""What humans have annotated: read from the server, put on the frames of the task that is evaluated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.inputs.annotations_by_frame import OnFrames
from prefect_cvat.exceptions import InvalidResponseError, NothingToEvaluateError, PermissionDeniedError
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.interpolation import interpolate
from prefect_cvat.messages.plurals import pluralize, quoted_list
from prefect_cvat.models import Label
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.plan import TaskInfo, make_plan, read_task
from prefect_cvat.planning.planned_frames import PlannedFrames

__all__ = [
    "Truth",
    "TruthSource",
    "each_on_frames",
    "put_on_frames",
    "read_annotations",
    "read_truth",
]

AnnotatedPart: TypeAlias = tuple[Iterable[tuple[str, dict[str, Any]]], range]
"""Annotations, each with the name of its kind, and the frames of which they tell."""

TruthSource = Literal["manual", "ground_truth", "task"]
"""Where the truth is: what humans drew in the task, its ground-truth job, or another task."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What humans have annotated.

    Attributes:
        name: What it is called, such as `the ground-truth job 12`.
        annotations: The annotations, on frames of the task that is evaluated and with its labels.
        frames: The frames whose shapes count.
        tag_frames: The frames whose tags count.
        left_out: How many annotations or frames do not count, by reason.
    """

    name: str
    annotations: OnFrames
    frames: PlannedFrames
    tag_frames: PlannedFrames
    left_out: dict[str, int]


def read_truth(
    client: Client,
    info: TaskInfo,
    source: TruthSource = "manual",
    *,
    truth_task_id: int | None = None,
    selection: Selection | None = None,
    all_frames: bool = False,
    ignore_case: bool = False,
) -> Truth:
    """Read what humans have annotated: everything but what is of source `auto`.

    Which frames count: all of a ground-truth job; of a task those on which a human has annotated something
    (shapes count where there are human shapes, tags where there are human tags), because CVAT does not tell
    a frame that nobody has looked at from one that has nothing on it. Deleted frames never count.

    Args:
        client: The server.
        info: The task that is evaluated.
        source: `manual`, `ground_truth` or `task`.
        truth_task_id: The other task. Its frames are matched by their names, those of videos also by their
            numbers in the video; its labels by theirs.
        selection: Which frames of the task may count; None for all. Jobs go with annotation jobs only.
        all_frames: Count frames of a task also where no human has annotated anything: they were looked at.
        ignore_case: Match labels of another task without regard to upper and lower case.

    Raises:
        NothingToEvaluateError: No human has annotated anything there, or there is no such job, or the tasks
            have no frame in common.
        PermissionDeniedError: This user may not read it.
        ValueError: The arguments do not go together, or the selection names what the task does not have.
    """
    if (source == "task") != (truth_task_id is not None):
        raise ValueError("truth_task_id goes with the truth of another task, and with no other")
    own = make_plan(info, selection).frames
    if source == "ground_truth":
        return _from_ground_truth_job(client, info, selection or Selection())
    if truth_task_id is None:
        name = f"what humans annotated in task {info.task.id}"
        return _of_task(name, put_on_frames(read_annotations(client, info), own), own, all_frames, {})
    name = f"what humans annotated in task {truth_task_id}"
    other = read_task(client, truth_task_id)
    numbers = _matching_frames(own, info, make_plan(other).frames, other)
    there = [Frame(number, frame.name, frame.width, frame.height) for number, frame in numbers.items()]
    relabel = _Relabeler(other.labels, info.labels, numbers, ignore_case)
    found = put_on_frames(read_annotations(client, other), there, change=relabel)
    left_out = relabel.left_out(truth_task_id, info, found)
    if missing := len(own) - len(numbers):
        left_out["frames that the other task does not have"] = missing
    frames = info.frames_of(frame.number for frame in numbers.values())
    return _of_task(name, found, frames, all_frames, left_out)


def read_annotations(client: Client, info: TaskInfo) -> Iterator[AnnotatedPart]:
    """All annotations of a task, or, where only jobs of it may be seen, of these; not held in memory.

    A frame that two jobs share is read from the first of them.

    Raises:
        InvalidResponseError: One has a label that the task does not have; when it is gone through.
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
                f" {annotation['label_id']}, which was not among the task's labels; run it again if the"
                " label is new"
            )
        yield kind, annotation


def put_on_frames(
    parts: Iterable[AnnotatedPart],
    frames: Sequence[Frame],
    *,
    by_machine: bool = False,
    change: Callable[[dict[str, Any]], dict[str, Any] | None] | None = None,
) -> OnFrames:
    """What humans, or machines, annotated on some frames; tracks are interpolated as CVAT shows them.

    Args:
        parts: The annotations.
        frames: The frames.
        by_machine: Whether to take what is of machines.
        change: Makes another annotation of each, or None to leave it out.

    Raises:
        StorageError: The disk does not take them.
    """
    found = OnFrames()
    for kind, annotation in each_on_frames(parts, frames, by_machine=by_machine):
        changed = annotation if change is None else change(annotation)
        if changed is not None:
            (found.tags if kind == "tags" else found.shapes).add(changed)
    return found


def each_on_frames(
    parts: Iterable[AnnotatedPart], frames: Sequence[Frame], *, by_machine: bool | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same one by one, each with `tags` or `shapes`; of humans and machines if `by_machine` is None."""
    for part, frames_of_part in parts:
        ascending = [frame.number for frame in frames if frame.number in frames_of_part]
        numbers = frozenset(ascending)
        for kind, annotation in part:
            if by_machine is not None and not _is_wanted(annotation, by_machine):
                continue
            if kind != "tracks":
                if annotation["frame"] in numbers:
                    yield kind, annotation
                continue
            for number in ascending:
                if (shape := interpolate(annotation, number)) is not None:
                    yield "shapes", shape


def _is_wanted(annotation: Mapping[str, Any], by_machine: bool) -> bool:
    return (annotation.get("source") == "auto") == by_machine


def _of_task(
    name: str, found: OnFrames, frames: PlannedFrames, all_frames: bool, left_out: dict[str, int]
) -> Truth:
    if not found:
        raise NothingToEvaluateError(
            f"there is nothing to evaluate against: {name} is nothing on the"
            f" {pluralize(len(frames), 'frame')}"
            " that could count; annotate some frames by hand, or name another truth"
        )
    compared = tagged = frames
    if not all_frames:
        compared, tagged = frames.where(found.shapes.has), frames.where(found.tags.has)
        seen = frames.where(lambda number: found.shapes.has(number) or found.tags.has(number))
        if unseen := len(frames) - len(seen):
            left_out = {**left_out, "frames that no human has annotated": unseen}
    return Truth(name, found, compared, tagged, left_out)


def _from_ground_truth_job(client: Client, info: TaskInfo, selection: Selection) -> Truth:
    task = info.task
    if selection.jobs is not None:
        raise ValueError("the truth of a ground-truth job cannot be narrowed to annotation jobs")
    jobs = [job for job in info.jobs if job.type == "ground_truth"]
    if not jobs:
        raise NothingToEvaluateError(
            f"task {task.id} ({task.name!r}) has no ground-truth job, or none that this user may see; create"
            " one, or evaluate against what humans annotated in the task itself"
        )
    job = jobs[0]
    layout = info.validation
    numbers = set(layout.validation_frames or ()) - set(layout.disabled_frames or ())
    numbers -= set(info.meta.deleted_frames)
    if selection.frames is not None:
        numbers = {number for number in numbers if number in selection.frames}
    frames = info.frames_of(sorted(numbers))
    try:
        parts = [(client.iter_job_annotations(job.id), range(info.meta.size))]
        found = put_on_frames(parts, frames)
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            f"this user may not read the ground-truth job {job.id} of task {task.id}; ask its owner to be"
            " given access, or evaluate against what humans annotated in the task itself",
            status=error.status,
            method=error.method,
            path=error.path,
            detail=error.detail,
            request_id=error.request_id,
        ) from None
    name = f"the ground-truth job {job.id} of task {task.id}"
    if not found:
        raise NothingToEvaluateError(
            f"there is nothing to evaluate against: {name} has no human annotations on its"
            f" {pluralize(len(frames), 'frame')}"
        )
    return Truth(name, found, frames, frames if len(found.tags) else frames[:0], {})


def _matching_frames(
    own: Sequence[Frame], info: TaskInfo, theirs: Sequence[Frame], other: TaskInfo
) -> dict[int, Frame]:
    """Frames of the task by the numbers that they have in the other one."""
    here, there = f"task {info.task.id}", f"task {other.task.id}"
    by_key = _by_key(theirs, other, there)
    matching = {}
    for key, frame in _by_key(own, info, here).items():
        twin = by_key.get(key)
        if twin is None:
            continue
        if (twin.width, twin.height) != (frame.width, frame.height):
            raise ValueError(
                f"{frame} has {frame.width}x{frame.height} pixels in {here}, but {twin.width}x{twin.height}"
                f" in {there}; the truth must be of the same images"
            )
        matching[twin.number] = frame
    if not matching:
        raise NothingToEvaluateError(
            f"{here} and {there} have no frame in common; frames are matched by their names, such as"
            f" {own[0].name!r} and {theirs[0].name!r}"
            if own and theirs
            else f"{here} and {there} have no frame in common"
        )
    return matching


def _by_key(frames: Sequence[Frame], info: TaskInfo, name: str) -> Mapping[Hashable, Frame]:
    if info.task.mode == "interpolation":  # a video: its frames all have the name of the file
        meta = info.meta
        step = meta.step
        return {(frame.name, meta.start_frame + step * frame.number): frame for frame in frames}
    counts = Counter(frame.name for frame in frames)
    if doubled := [key for key, count in counts.items() if count > 1]:
        raise ValueError(f"{name} has {counts[doubled[0]]} frames with the name {doubled[0]!r}")
    return {frame.name: frame for frame in frames}


class _Relabeler:
    """Makes annotations of another task those of this one: their labels and their frames."""

    def __init__(
        self, theirs: Sequence[Label], own: Sequence[Label], frames: Mapping[int, Frame], ignore_case: bool
    ) -> None:
        self._names = {label.id: label.name for label in theirs}
        self._frames = frames
        self._sublabels: dict[int, int] = {}
        self._targets: dict[int, int] = {}
        self._unknown: Counter[str] = Counter()
        labels = _by_name(own, ignore_case)
        for label in theirs:
            target = labels.get(_key(label.name, ignore_case))
            if target is None:
                continue
            self._targets[label.id] = target.id
            keypoints = _by_name(target.sublabels, ignore_case)
            for sublabel in label.sublabels:
                if (keypoint := keypoints.get(_key(sublabel.name, ignore_case))) is not None:
                    self._sublabels[sublabel.id] = keypoint.id

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        target = self._targets.get(item["label_id"])
        if target is None:
            self._unknown[self._names[item["label_id"]]] += 1
            return None
        elements = [
            {**element, "label_id": self._sublabels[element["label_id"]]}
            for element in item.get("elements") or ()
            if element["label_id"] in self._sublabels
        ]
        frame = self._frames[item["frame"]].number
        return {**item, "label_id": target, "elements": elements, "frame": frame}

    def left_out(self, truth_task_id: int, info: TaskInfo, found: OnFrames) -> dict[str, int]:
        """How many there are no labels for.

        Raises:
            NothingToEvaluateError: All of them.
        """
        if self._unknown and not found:
            raise NothingToEvaluateError(
                f"the labels do not match: what humans annotated in task {truth_task_id} is of"
                f" {quoted_list(list(self._unknown))}, and task {info.task.id} has"
                f" {quoted_list([label.name for label in info.labels])}"
            )
        return {
            f"annotations of label {name!r} of task {truth_task_id}": count
            for name, count in self._unknown.items()
        }


def _by_name(owners: Iterable[Any], ignore_case: bool) -> dict[str, Any]:
    return {_key(owner.name, ignore_case): owner for owner in owners}


def _key(name: str, ignore_case: bool) -> str:
    return name.casefold() if ignore_case else name
