"""The ground truth: what humans have annotated, and the frames on which it counts."""

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
"""Where the truth is: what humans drew in the task, its ground-truth job, or another task."""


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What humans have annotated.

    Attributes:
        name: What it is called, such as `the ground-truth job 12`.
        annotations: The annotations, on frames of the task that is evaluated and with its labels.
        frames: The frames whose shapes count.
        tag_frames: The frames whose tags count.
        left_out: How many annotations or frames do not count, by reason.
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
) -> GroundTruth:
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
        return _of_task(name, collect_annotations(read_annotations(client, info), own), own, all_frames, {})
    name = f"what humans annotated in task {truth_task_id}"
    other = read_task(client, truth_task_id)
    numbers = matching_frames(own, info, make_plan(other).frames, other)
    there = [Frame(number, frame.name, frame.width, frame.height) for number, frame in numbers.items()]
    relabel = Relabeler(other.labels, info.labels, numbers, ignore_case)
    found = collect_annotations(read_annotations(client, other), there, change=relabel)
    left_out = relabel.left_out(truth_task_id, info, found)
    if missing := len(own) - len(numbers):
        left_out["frames that the other task does not have"] = missing
    frames = info.frames_of(frame.number for frame in numbers.values())
    return _of_task(name, found, frames, all_frames, left_out)


def _of_task(
    name: str, found: FrameAnnotations, frames: PlannedFrames, all_frames: bool, left_out: dict[str, int]
) -> GroundTruth:
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
    return GroundTruth(name, found, compared, tagged, left_out)


def _from_ground_truth_job(client: Client, info: TaskInfo, selection: Selection) -> GroundTruth:
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
        found = collect_annotations(parts, frames)
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
    return GroundTruth(name, found, frames, frames if len(found.tags) else frames[:0], {})
