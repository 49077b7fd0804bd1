"""The stages of a run as Prefect tasks.

Each calls methods of `Run` or `PlannedRun`, and adds what Prefect offers: retries, and a task run in
Prefect's pages. `run_pipeline` calls them through `PrefectSubmitter`.

All stages of a batch are one Prefect task run. A task run costs the Prefect server about 65 ms of processor
time and three events; the state of a batch says how long each of its stages took.
"""

from __future__ import annotations

import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from typing import Any

from prefect import Task, task
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.messages.bounded_text import shorten
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.metrics import add_counts
from prefect_cvat.planning.plan import Batch
from prefect_cvat.runs.execution.pipeline import STAGES
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.execution.run_context import Workspace
from prefect_cvat.tasks.log_records import shorten_log_records
from prefect_cvat.tasks.prefect_task_options import RETRY_NETWORK_ERRORS, shorten_errors

__all__ = ["BatchStages", "PrefectSubmitter", "finish_upload", "plan_task", "run_batch"]

SECONDS_BETWEEN_CHECKS = 0.2
"""How often a stage that waits for the batch before checks whether the run was stopped."""


@task(name="plan task", **RETRY_NETWORK_ERRORS)
@shorten_errors
def plan_task(run: Run, workspace: Workspace) -> PlannedRun[Any]:
    """Read the task from CVAT, and select its frames and jobs."""
    return run.plan_task(workspace)


@task(name="batch", task_run_name="{stages}", **RETRY_NETWORK_ERRORS)
@shorten_errors
def run_batch(stages: BatchStages) -> State[int]:
    """Fetch, detect, remap and upload a batch; its state says how long each stage took.

    The state is named `Cached` if the detections of all frames were known from an earlier run, and is
    `Cancelled` if the run was stopped before the batch was finished.
    """
    try:
        frames = stages.run()
    except RunStoppedError as error:
        return Cancelled(message=shorten(str(error)))
    except Exception as error:
        add_counts({("prefect_cvat_errors", type(error).__name__): 1})
        raise
    add_counts(stages.counts())
    return Completed(name=stages.state_name, message=stages.describe(), data=frames)


@task(name="finish upload", **RETRY_NETWORK_ERRORS)
@shorten_errors
def finish_upload(run: PlannedRun[Any]) -> None:
    """Verify every job, and remove duplicates and annotations that were replaced."""
    run.finish_upload()


shorten_log_records()


class BatchStages:
    """The stages of a batch, one after the other. A retry continues with the stage that has failed.

    Not a dataclass: Prefect traverses dataclasses and containers that are passed to Prefect tasks.

    Args:
        run: The run.
        batch: The batch.
        before: The batch before. The function gets the batches in order, and so do the stages of
            `PlannedRun.in_order`.
    """

    def __init__(self, run: PlannedRun[Any], batch: Batch, before: BatchStages | None) -> None:
        self._run = run
        self._batch = batch
        self._before = before
        self._waiting = list(STAGES)
        self._result: tuple[Any, ...] = ()
        self._ended: dict[str, Future[Any]] = {name: Future() for name in run.in_order | {"detect_batch"}}
        self._seconds: dict[str, float] = {}
        self._known = 0

    def __str__(self) -> str:
        return str(self._batch)

    def run(self) -> int:
        """Run the stages that have not run yet; return the number of frames.

        Raises:
            RunStoppedError: The run was stopped.
        """
        while self._waiting:
            stage = self._waiting[0]
            after = self._result_before(stage)
            started = time.perf_counter()
            try:
                result = getattr(self._run, stage)(self._batch, *self._result, *after)
                if stage == "fetch_batch":
                    self._run.wait_for_chunks(self._batch, result)
                    self._known = len(result.known)
            finally:
                name = stage.partition("_")[0]
                self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - started
            self._result = (result,)
            del self._waiting[0]
            if stage in self._ended:
                self._ended[stage].set_result(result if stage in self._run.in_order else None)
        self._before = None
        frames: int = self._result[0]
        return frames

    @property
    def state_name(self) -> str:
        """The name of the state of a batch that is finished."""
        return "Cached" if self._known == len(self._batch.frames) else "Completed"

    def describe(self) -> str:
        """Number of frames and the seconds of each stage, such as `10 frames: fetch 0.1 s, detect 1.8 s`."""
        seconds = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self._seconds.items())
        known = f", {self._known} of them detected in an earlier run" if self._known else ""
        return f"{pluralize(len(self._batch.frames), 'frame')}{known}: {seconds}"

    def counts(self) -> dict[tuple[str, str], float]:
        """What the batch adds to the counters of this machine."""
        return {
            ("prefect_cvat_frames", "cached"): self._known,
            ("prefect_cvat_frames", "new"): len(self._batch.frames) - self._known,
            **{("prefect_cvat_stage_seconds", name): seconds for name, seconds in self._seconds.items()},
        }

    def _result_before(self, stage: str) -> tuple[Any, ...]:
        """Wait for a stage of the batch before; its result, if the stage takes that."""
        if self._before is None or stage not in self._ended:
            return ()
        ended = self._before._ended[stage]
        while True:
            with self._run.context.working_on(self._batch):  # raises if the run was stopped
                try:
                    result = ended.result(SECONDS_BETWEEN_CHECKS)
                except NotYetError:
                    continue
            return (result,) if stage in self._run.in_order else ()


_TASKS: dict[str, Task[Any, Any]] = {"plan_task": plan_task, "finish_upload": finish_upload}


class PrefectSubmitter:
    """Runs the stages of one run as Prefect task runs of the current flow run."""

    def __init__(self) -> None:
        self._last: BatchStages | None = None

    def submit(self, stage: str, run: Any, *args: Any) -> Any:
        """Submit a stage, given by its name. `validate_spec` takes no time, and is run at once."""
        if stage in _TASKS:
            return _TASKS[stage].submit(run, *args)
        done: Future[Any] = Future()
        done.set_result(getattr(run, stage)(*args))
        return done

    def submit_batch(self, run: PlannedRun[Any], batch: Batch) -> list[Any]:
        """Submit the stages of a batch, as one Prefect task run."""
        self._last = BatchStages(run, batch, self._last)
        return [run_batch.submit(self._last)]
