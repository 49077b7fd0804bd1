"""Predictions from the record of a run: what it has written, whatever has become of it."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_cvat.evaluation.inputs.annotations_by_frame import FrameAnnotations
from prefect_cvat.evaluation.inputs.predictions import Predictions
from prefect_cvat.evaluation.inputs.task_annotations import annotations_on_frames
from prefect_cvat.exceptions import NothingToEvaluateError, RunNotFoundError
from prefect_cvat.frames import Frame
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.planning.plan import TaskInfo
from prefect_cvat.records.record_reader import find_run, read_run
from prefect_cvat.records.written_reader import WrittenByRun

__all__ = ["read_recorded_run"]


def read_recorded_run(server: str, info: TaskInfo, frames: Sequence[Frame], run: str) -> Predictions:
    """Read what a run has written to a task, also if it was replaced or corrected since.

    What `undo` has removed is left out, and so are annotations of labels that the task no longer has.

    Args:
        server: The address of the server.
        info: The evaluated task.
        frames: The frames to evaluate.
        run: The id of the run, or its first eight characters or more.

    Raises:
        NothingToEvaluateError: It has written nothing on these frames, or its record does not say what.
        RunNotFoundError: It is not recorded on this machine, or it was a run on another task.
        StorageError: The record cannot be read.
    """
    recorded = read_run(find_run(run))
    header = recorded.header
    name = f"run {header.run[:8]} ({header.provenance.function})"
    if (server_identity(header.server), header.task_id) != (server_identity(server), info.task.id):
        raise RunNotFoundError(
            f"{name} was on task {header.task_id} of {header.server}, not on task {info.task.id} of {server}"
        )
    if differences := header.task.differences(info.identity(info.jobs)):
        raise RunNotFoundError(f"{name} was on another task with this id: {differences[0]}")
    written = WrittenByRun(recorded)
    labels = {label.id for label in info.labels}
    found, unknown = FrameAnnotations(), 0
    every = (
        (each.kind, each.body)
        for each in written.annotations()
        if (each.kind, each.id) not in written.removed  # by `undo`
    )
    numbers = frozenset(frame.number for frame in frames)
    part = every, range(min(numbers, default=0), max(numbers, default=0) + 1)
    for kind, annotation in annotations_on_frames([part], frames, automatic=None):
        if annotation["label_id"] in labels:
            found.add(kind, annotation)
        else:
            unknown += 1
    if not found:
        raise NothingToEvaluateError(
            f"{name} has written nothing on the {pluralize(len(frames), 'frame')} to evaluate that its record"
            " still has: runs of earlier versions recorded no content, and `undo` removes it"
        )
    processed = written.frames
    missing = numbers - {number for number in numbers if processed is None or number in processed}
    left_out = {f"annotations of {name} with labels that the task no longer has": unknown} if unknown else {}
    left_out |= {f"frames that {name} has not processed": len(missing)} if missing else {}
    return Predictions(name, found, missing=missing, left_out=left_out)
