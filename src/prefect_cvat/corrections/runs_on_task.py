"""What all recorded runs have written to a task, stored on disk by frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
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
    """A recorded run.

    Attributes:
        run: Its id.
        function: The name of its function.
        frames: The numbers of the frames that it has processed.
        undone: Ids of what `undo` has noted as removed.
    """

    run: str
    function: str
    frames: NumberSet
    undone: AnnotationIds


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

    def is_there(self, key: AnnotationId) -> None:
        """Take in that an annotation is in the task, so that it was not removed, whatever was noted."""
        self.replaced.discard(key)

    def in_force_on(self, frame: int) -> set[str]:
        """The ids of the runs that have processed a frame.

        Without those that were undone, and those of which all on the frame was replaced.
        """
        written: dict[int, bool] = {}
        for each in self.on_frame(frame):
            written[each.run] = written.get(each.run, False) or each.key not in self.replaced
        return {
            run.run
            for index, run in enumerate(self.runs)
            if frame in run.frames and index not in self._undone and written.get(index, True)
        }

    @cached_property
    def _undone(self) -> set[int]:
        return {
            index for index, run in enumerate(self.runs) if any(key in self.replaced for key in run.undone)
        }

    def is_from_before(self, job_id: int, key: AnnotationId) -> bool:
        """Whether an annotation that no run has written was in its job before the first run."""
        kind, number = key
        return number <= self._ids_before.get((job_id, kind), self._first_ids.get(kind, 1) - 1)

    def add(self, recorded: RecordedRun, plan: Plan, labels: set[int]) -> None:
        """Add a run; runs are added in the order of their start."""
        written = WrittenByRun(recorded)
        header = recorded.header
        index = len(self.runs)
        processed = _processed(recorded, written, plan)
        undone = AnnotationIds(
            key for key in written.removed if any(key in job.added for job in recorded.jobs.values())
        )
        self.runs.append(RunOfTask(header.run, header.provenance.function, processed, undone))
        self.replaced.update(written.removed)
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
            processed.add(body["frame"])  # also where the run was killed
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
        self.frames.update(processed)
        if written.frames is None and written.has_content:
            self.unknown.append(
                f"run {header.run[:8]} was interrupted: only the frames on which it has written something"
                " count as processed"
            )
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


def _processed(recorded: RecordedRun, written: WrittenByRun, plan: Plan) -> NumberSet:
    """The frames that a run has processed, as far as it has noted them.

    An earlier version did not note them: it has processed whole jobs. A run that was interrupted did not
    either: which frames it has reached is known only from what it wrote on them.
    """
    frames = written.frames
    if frames is None and written.has_content:
        return NumberSet()
    return NumberSet(
        number
        for job in plan.jobs
        if job.id in recorded.jobs or frames is not None
        for number in range(job.start_frame, job.stop_frame + 1)
        if frames is None or number in frames
    )


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
