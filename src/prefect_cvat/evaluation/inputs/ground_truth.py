"""Reads the ground truth: manual annotations, and the frames to evaluate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.inputs.annotations_by_frame import FrameAnnotations
from prefect_cvat.evaluation.inputs.task_annotations import collect_annotations, read_annotations
from prefect_cvat.evaluation.inputs.truth_task import Relabeler, matching_frames
from prefect_cvat.exceptions import NothingToEvaluateError, PermissionDeniedError
from prefect_cvat.frames import Frame
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.plan import TaskInfo, make_plan, read_task
from prefect_cvat.planning.planned_frames import PlannedFrames

__all__ = ["GroundTruth", "GroundTruthSource", "read_ground_truth"]

GroundTruthSource = Literal["manual", "ground_truth", "task"]
"""The manual annotations of the task, its ground-truth job, or the manual annotations of another task."""


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """Ground-truth annotations.

    Attributes:
        name: A description, such as `the ground-truth job 12 of task 3`.
        annotations: The annotations, with frames and labels of the evaluated task.
        frames: The frames on which shapes are evaluated.
        tag_frames: The frames on which tags are evaluated.
        left_out: Number of annotations or frames that are not evaluated, by reason.
    """

    name: str
    annotations: FrameAnnotations
    frames: PlannedFrames
    tag_frames: PlannedFrames
    left_out: dict[str, int]


def read_ground_truth(
    client: Client,
    info: TaskInfo,
    source: GroundTruthSource = "manual",
    *,
    truth_task_id: int | None = None,
    selection: Selection | None = None,
    all_frames: bool = False,
    ignore_case: bool = False,
    automatic: FrameAnnotations | None = None,
) -> GroundTruth:
    """Read manual annotations, that is, all that are not of source `auto`.

    All frames of a ground-truth job are evaluated. Of a task, shapes are evaluated on frames with manual
    shapes, and tags on frames with manual tags: CVAT does not distinguish frames that have not been annotated
    yet from frames without objects. Deleted frames are never evaluated.

    Args:
        client: The server.
        info: The evaluated task.
        source: `manual`, `ground_truth` or `task`.
        truth_task_id: Id of the other task. Frames and labels are matched by name, frames of videos also by
            their numbers in the video.
        selection: The frames of the task to evaluate; None for all. Jobs can be selected only without a
            ground-truth job.
        all_frames: Evaluate frames without manual annotations too.
        ignore_case: Ignore case when labels of another task are matched.
        automatic: With `manual`, receives the automatic annotations of the same frames, so that the task need
            not be read twice.

    Raises:
        NothingToEvaluateError: There are no manual annotations, there is no ground-truth job, or the tasks
            have no frame in common.
        PermissionDeniedError: The user may not read the annotations.
        ValueError: The arguments contradict each other, or the task does not have a selected frame or job.
    """
    if (source == "task") != (truth_task_id is not None):
        raise ValueError("truth_task_id is required with truth='task', and not allowed otherwise")
    own = make_plan(info, selection).frames
    if source == "ground_truth":
        return _from_ground_truth_job(client, info, selection or Selection())
    if truth_task_id is None:
        name = f"the manual annotations of task {info.task.id}"
        found = collect_annotations(read_annotations(client, info), own, others=automatic)
        return _of_task(name, found, own, all_frames, {})
    name = f"the manual annotations of task {truth_task_id}"
    other = read_task(client, truth_task_id)
    numbers = matching_frames(own, info, make_plan(other).frames, other)
    there = [Frame(number, frame.name, frame.width, frame.height) for number, frame in numbers.items()]
    relabel = Relabeler(other.labels, info.labels, numbers, ignore_case)
    found = collect_annotations(read_annotations(client, other), there, change=relabel)
    left_out = relabel.left_out(name, info, found)
    if missing := len(own) - len(numbers):
        left_out["frames that the other task does not have"] = missing
    frames = info.frames_of(frame.number for frame in numbers.values())
    return _of_task(name, found, frames, all_frames, left_out)


def _of_task(
    name: str, found: FrameAnnotations, frames: PlannedFrames, all_frames: bool, left_out: dict[str, int]
) -> GroundTruth:
    if not found:
        raise NothingToEvaluateError(
            f"there is no ground truth: {name} contain nothing on the {pluralize(len(frames), 'frame')} to"
            " evaluate; annotate some frames manually, or choose another truth"
        )
    compared = tagged = frames
    if not all_frames:
        compared, tagged = frames.where(found.shapes.has), frames.where(found.tags.has)
        seen = frames.where(found.has)
        if unseen := len(frames) - len(seen):
            left_out = {**left_out, "frames without manual annotations": unseen}
    return GroundTruth(name, found, compared, tagged, left_out)


def _from_ground_truth_job(client: Client, info: TaskInfo, selection: Selection) -> GroundTruth:
    task = info.task
    if selection.jobs is not None:
        raise ValueError("jobs cannot be selected with a ground-truth job: its frames are evaluated")
    jobs = [job for job in info.jobs if job.type == "ground_truth"]
    if not jobs:
        raise NothingToEvaluateError(
            f"task {task.id} ({task.name!r}) has no ground-truth job, or the user may not see it; create"
            " one, or evaluate on the manual annotations of the task"
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
        found = collect_annotations(parts, frames)
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            f"this user may not read the ground-truth job {job.id} of task {task.id}; ask its owner for"
            " access, or evaluate on the manual annotations of the task",
            status=error.status,
            method=error.method,
            path=error.path,
            detail=error.detail,
            request_id=error.request_id,
        ) from None
    name = f"the ground-truth job {job.id} of task {task.id}"
    if not found:
        raise NothingToEvaluateError(
            f"there is no ground truth: {name} has no manual annotations on its"
            f" {pluralize(len(frames), 'frame')}"
        )
    return GroundTruth(name, found, frames, frames if len(found.tags) else frames[:0], {})
