"""The corrections of a task: what people have changed of what runs wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby

from pydantic_core import from_json, to_json

from prefect_cvat.annotations.content_digest import attribute_defaults, content_digest
from prefect_cvat.corrections.correction import Correction
from prefect_cvat.corrections.frame_comparison import Current, FrameComparison, Outcome
from prefect_cvat.corrections.runs_on_task import RunOfTask, RunsOnTask, read_runs
from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.files.lines_by_frame import LinesByFrame
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.planning.plan import Plan, make_plan, read_task
from prefect_cvat.planning.planned_frames import PlannedFrames
from prefect_cvat.planning.whole_task import read_each_job

__all__ = ["TaskCorrections", "corrections_of_task"]

_LOOKED_AT = frozenset({"validation", "acceptance"})


class TaskCorrections:
    """The corrections of a task. Iterating compares frame by frame: only one frame is in memory.

    Attributes:
        task_id: The id of the task.
        url: The address of the task in CVAT.
        runs: The recorded runs on the task, in the order of their start.
        frames: The frames that somebody has looked at: with a correction, of a job in the state `completed`
            or a later stage than annotation, or named by the caller; only frames that a run has processed.
        frames_processed: Number of frames that a run has processed.
        unknown: What is not known, and why: sentences for a report.
    """

    def __init__(self, client: Client, plan: Plan, looked_at: Collection[int]) -> None:
        info = plan.info
        self.task_id = info.task.id
        self.url = info.page(client.url)
        self._plan = plan
        self._runs: RunsOnTask = read_runs(client.url, plan)
        self._names = {label.id: label.name for label in info.labels}
        self._defaults = attribute_defaults(info.labels)
        self._current = LinesByFrame()
        self._missing = set(self._runs.without_content)
        self._read(client)
        comparison = self._comparison()
        corrected = {number for number, outcome in self._outcomes(comparison) if outcome.is_corrected}
        done = [job for job in plan.jobs if job.state == "completed" or job.stage in _LOOKED_AT]
        processed = plan.frames.where(self._runs.frames.__contains__)
        self.frames: PlannedFrames = processed.where(
            lambda number: number in corrected or number in looked_at or _is_in(done, number)
        )
        self.frames_processed = len(processed)
        self.unknown = [*self._runs.unknown, *self._doubts(comparison)]

    @property
    def runs(self) -> list[RunOfTask]:
        """The recorded runs on the task."""
        return self._runs.runs

    def in_force_on(self, frame: int) -> set[str]:
        """The ids of the runs that have processed a frame, without those undone or replaced there."""
        return self._runs.in_force_on(frame)

    def __iter__(self) -> Iterator[Correction]:
        """The corrections on the frames that somebody has looked at, in the order of the frames."""
        for number, outcome in self._outcomes(self._comparison()):
            if self.frames.has(number):
                yield from outcome.corrections

    def _comparison(self) -> FrameComparison:
        return FrameComparison(self._runs, self._names, self._defaults)

    def _read(self, client: Client) -> None:
        """Store the current annotations on disk; a track under the frame under which it was written."""
        for job, held in read_each_job(client, self._plan.info, self._plan.jobs):
            for kind, annotation in held:
                frame = annotation["frame"]
                if kind == "tracks":
                    frame = self._runs.track_frames.get(annotation["id"], frame)
                if self._plan.frames.has(frame) and annotation["label_id"] in self._names:
                    self._current.add(frame, to_json([job.id, (kind, annotation["id"]), annotation]))
                self._missing.discard((kind, annotation["id"]))
                self._runs.is_there((kind, annotation["id"]))

    def _outcomes(self, comparison: FrameComparison) -> Iterator[tuple[int, Outcome]]:
        """Compare each processed frame with annotations, in its first job."""
        numbers = sorted({*self._runs.written_frames(), *self._current.frames()})
        for number in numbers:
            if not self._plan.frames.has(number) or number not in self._runs.frames:
                continue
            current = [
                Current(job_id, (kind, annotation_id), body)
                for job_id, (kind, annotation_id), body in map(from_json, self._current.of(number))
            ]
            jobs = self._plan.jobs_between(number, number)
            first = min(jobs, key=lambda job: job.start_frame).id
            if len(jobs) > 1:
                self._compare_copies(current, comparison)
            written = [each for each in self._runs.on_frame(number) if each.job_id == first]
            yield number, comparison.compare(written, [each for each in current if each.job_id == first])

    def _compare_copies(self, current: list[Current], comparison: FrameComparison) -> None:
        """Count a frame of two jobs on which they differ."""
        by_job = groupby(sorted(current, key=lambda each: each.job_id), key=lambda each: each.job_id)
        contents = {
            tuple(sorted(content_digest(each.body, self._defaults) for each in of_job))
            for _, of_job in by_job
        }
        if len(contents) > 1:
            comparison.differing_frames += 1

    def _doubts(self, comparison: FrameComparison) -> Iterator[str]:
        if self._missing:
            yield (
                f"{pluralize(len(self._missing), 'annotation')} of runs of an earlier version are gone: their"
                " frames and labels are not known, so they are not counted as deleted"
            )
        for reason, count in comparison.left_out.items():
            yield f"{pluralize(count, 'annotation')} {reason}"
        if comparison.differing_frames:
            yield (
                f"{pluralize(comparison.differing_frames, 'frame')} that two jobs share were corrected"
                " differently in them: the first of the two jobs counts"
            )


def corrections_of_task(
    client: AnyClient,
    task_id: int,
    *,
    looked_at: Collection[int] = (),
    selection: Selection | None = None,
) -> TaskCorrections:
    """Compare what runs have written to a task with what is there now. Nothing is written.

    What runs wrote is known from their records on this machine (`PREFECT_CVAT_RUNS_DIR`). Annotations are
    matched by the ids that the server gave them; a shape that is gone, with one drawn in its place. What was
    in the task before the first run is not compared, nor are frames that no run has processed. An annotation
    that a later run has replaced, or `undo` has removed, is no correction.

    A frame is compared in the first job that has it. Of a track, the keyframes are compared.

    Example:
        ```python
        from collections import Counter

        from prefect_cvat import Client
        from prefect_cvat.corrections import corrections_of_task

        with Client("https://cvat.example.com", access_token="...") as client:
            done = corrections_of_task(client, 123)
            print(len(done.frames), Counter(correction.kind for correction in done))
        ```

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: The id of the task.
        looked_at: Numbers of frames that somebody has looked at, besides those that are known.
        selection: The frames and jobs to compare; None for all.

    Raises:
        RunNotFoundError: No run on the task is recorded on this machine.
        StorageError: A record cannot be read.
        PrefectCvatError: A request to the server failed.
        ValueError: The task does not have a selected frame or job, or a frame of `looked_at`.
    """
    client = own_client(client)
    info = read_task(client, task_id, selection)
    size = info.task.size or 0
    if beyond := NumberRanges.of(looked_at).outside(size):
        raise ValueError(
            f"{argument('looked_at')}: task {task_id} has {pluralize(size, 'frame')}, numbered from 0,"
            f" and no {beyond.describe()}"
        )
    plan = make_plan(info, selection)
    return TaskCorrections(client, plan, looked_at)


def _is_in(jobs: Iterable[Job], number: int) -> bool:
    return any(job.start_frame <= number <= job.stop_frame for job in jobs)
