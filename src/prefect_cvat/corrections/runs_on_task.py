"""What all recorded runs have written to a task, stored on disk by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from prefect_cvat.exceptions import RunNotFoundError
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.number_set import NumberSet
from prefect_cvat.planning.plan import Plan
from prefect_cvat.records.annotation_index import AnnotationIds
from prefect_cvat.records.record_reader import RecordedJob, RecordedRun, read_run, recorded_runs
from prefect_cvat.records.record_writer import ISSUES, AnnotationId
from prefect_cvat.records.written_reader import WrittenByRun
from prefect_cvat.settings import Settings

__all__ = ["RunOfTask", "RunsOnTask", "Written", "read_runs"]


class Written(NamedTuple):
    """An annotation that a run has written.

    Attributes:
        run: The index of the run in `RunsOnTask.runs`.
        job_id: The id of its job.
        key: Its kind and its id on the server.
        body: The JSON object that was sent.
    """

    run: int
    job_id: int
    key: AnnotationId
    body: dict[str, Any]


class RunOfTask(NamedTuple):
    """A recorded run: its id, and the name of its function."""

    run: str
    function: str


@dataclass
class RunsOnTask:
    """What all recorded runs have written to a task.

    Attributes:
        runs: The runs, in the order of their start.
        replaced: Ids of what later runs have replaced, or `undo` has removed.
        frames: The numbers of frames that a run has processed.
        without_content: Ids and digests of annotations whose content is not known, with the index of the run.
        track_frames: The frame under which each track is stored, by its id.
        unknown: What cannot be known, and why.
    """

    runs: list[RunOfTask] = field(default_factory=list)
    replaced: AnnotationIds = field(default_factory=AnnotationIds)
    frames: NumberSet = field(default_factory=NumberSet)
    without_content: dict[AnnotationId, tuple[int, str]] = field(default_factory=dict)
    track_frames: dict[int, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    _lines: LinesByFrame = field(default_factory=LinesByFrame)
    _first_ids: dict[str, int] = field(default_factory=dict)
    _ids_before: dict[tuple[int, str], int] = field(default_factory=dict)

    def on_frame(self, frame: int) -> Iterator[Written]:
        """What was written on a frame; a track is on the frame of its first keyframe."""
        for line in self._lines.of(frame):
            run, job_id, (kind, number), body = from_json(line)
            yield Written(run, job_id, (kind, number), body)

    def written_frames(self) -> Iterator[int]:
        """The frames on which something was written, in ascending order."""
        return self._lines.frames()

    def is_from_before(self, job_id: int, key: AnnotationId) -> bool:
        """Whether an annotation that no run has written was in its job before the first run."""
        kind, number = key
        return number <= self._ids_before.get((job_id, kind), self._first_ids.get(kind, 1) - 1)

    def add(self, recorded: RecordedRun, plan: Plan, labels: set[int]) -> None:
        """Add a run; runs are added in the order of their start."""
        written = WrittenByRun(recorded)
        header = recorded.header
        index = len(self.runs)
        self.runs.append(RunOfTask(header.run, header.provenance.function))
        self.replaced.update(written.removed)
        frames = written.frames
        for job in plan.jobs:
            if job.id in recorded.jobs or frames is not None:
                numbers = range(job.start_frame, job.stop_frame + 1)
                self.frames.update(number for number in numbers if frames is None or number in frames)
        selected = {job.id for job in plan.jobs}
        known = AnnotationIds()
        of_removed_labels = 0
        for job_id, kind, number, body in written.annotations():
            if job_id not in selected:
                continue
            known.add((kind, number))
            if body["label_id"] not in labels:
                of_removed_labels += 1
                continue
            self.frames.add(body["frame"])  # also where the run was killed
            self._lines.add(body["frame"], to_json([index, job_id, (kind, number), body]))
            if kind == "tracks":
                self.track_frames[number] = body["frame"]
        for job_id, of_job in recorded.jobs.items():
            if job_id not in selected:
                continue
            self._note_ids(job_id, of_job)
            for key in of_job.added:
                if key[0] != ISSUES and key not in known:
                    self.without_content[key] = index, of_job.added[key]
        if of_removed_labels:
            self.unknown.append(
                f"run {header.run[:8]}: {pluralize(of_removed_labels, 'annotation')} of labels that the task"
                " no longer has are left out: CVAT deletes them with their labels"
            )

    def _note_ids(self, job_id: int, job: RecordedJob) -> None:
        lowest: dict[str, int] = {}
        for kind, number in job.added:
            lowest[kind] = min(number, lowest.get(kind, number))
        for kind, number in lowest.items():
            self._first_ids[kind] = min(number, self._first_ids.get(kind, number))
        for kind, number in job.after.items():
            before = min(number, lowest.get(kind, number + 1) - 1)
            self._ids_before.setdefault((job_id, kind), before)


def read_runs(server: str, plan: Plan) -> RunsOnTask:
    """Read the records of all runs on a task.

    Args:
        server: The address of the server.
        plan: The frames and jobs to compare.

    Raises:
        RunNotFoundError: No run on the task is recorded on this machine.
        StorageError: A record cannot be read.
    """
    info = plan.info
    found = RunsOnTask()
    labels = {label.id for label in info.labels}
    identity = info.identity(info.jobs)
    others: Counter[str] = Counter()
    for header in reversed(recorded_runs()):
        if (server_identity(header.server), header.task_id) != (server_identity(server), info.task.id):
            continue
        if differences := header.task.differences(identity):
            others[differences[0]] += 1
            continue
        found.add(read_run(header.run), plan, labels)
    if not found.runs:
        raise RunNotFoundError(
            f"no run on task {info.task.id} of {server} is recorded in {Settings().runs_dir}, so it is not"
            " known what a run wrote. Use the machine on which it ran, or set PREFECT_CVAT_RUNS_DIR to shared"
            " storage; a record that `prefect-cvat runs prune` has removed is gone"
            + "".join(
                f". {count} recorded on another task with this id: {why}" for why, count in others.items()
            )
        )
    found.unknown += [
        f"{pluralize(count, 'run')} on another task with this id left out: {why}"
        for why, count in others.items()
    ]
    return found
