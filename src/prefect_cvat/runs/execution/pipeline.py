"""The order of the stages of a run: plan, then for each batch fetch, detect, remap, upload.

The stages are methods of `Run` and `PlannedRun`. `run_pipeline` submits them to anything that returns
futures: threads in scripts (`ThreadSubmitter`), Prefect tasks in flows (`PrefectSubmitter`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Protocol

from prefect_cvat.exceptions import (
    BadFunctionError,
    IncompleteRunError,
    MediaError,
    StorageError,
    UploadError,
)
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.planning.plan import Batch, Plan
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.progress_bar import Progress
from prefect_cvat.runs.execution.rare_collections import collecting_rarely
from prefect_cvat.runs.execution.run import Run
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["STAGES", "Submitter", "ThreadSubmitter", "run_pipeline"]

logger = logging.getLogger(__name__)

STAGES = ("fetch_batch", "detect_batch", "remap_labels", "upload_batch")
"""The stages of a batch. Each gets the batch and, except the first, the result of the stage before.

A stage of `PlannedRun.in_order` also gets its own result for the batch before.
"""


class Submitter(Protocol):
    """Runs the stages of one run, and returns futures."""

    def submit(self, stage: str, run: Any, *args: Any) -> Any:
        """Run a stage, given by the name of a method of `Run` or `PlannedRun`."""
        ...

    def submit_batch(self, run: PlannedRun[Any], batch: Batch) -> Sequence[Any]:
        """Run the `STAGES` of a batch. The result of the last future is the number of frames."""
        ...


def run_pipeline(
    run: Run,
    submitter: Submitter,
    progress: Progress | None = None,
    *,
    on_planned: Callable[[Plan], object] = lambda _: None,
) -> RunReport:
    """Annotate a task.

    At most `window` batches are in flight at a time, regardless of the size of the task: chunks are fetched
    before the function needs them, and uploads follow detection.

    If the function breaks its contract, an image is broken, or the server stores annotations other than
    those sent, the run removes everything it has written. If the network or the server fails permanently, or
    the run is cancelled, written annotations stay, and running again completes it. In both cases no further
    stage of a batch is started; running stages complete.

    Args:
        run: The run.
        submitter: Runs the stages.
        progress: Shows how many frames are done.
        on_planned: Called with the plan, after the function was validated against it.

    Raises:
        IncompleteRunError: The run has completed, but some annotations are missing or wrong on the server.
        PrefectCvatError: The run failed.
    """
    started = time.perf_counter()
    with closing(run), collecting_rarely(), run.reserve_task() as workspace:
        planned: PlannedRun[Any] = submitter.submit("plan_task", run, workspace).result()
        submitter.submit("validate_spec", planned).result()
        on_planned(planned.plan)
        if progress is not None:
            progress.start(len(planned.plan.frames))
        try:
            with closing(planned):
                try:
                    _annotate(run, planned, submitter, progress)
                    _check_function_worked(run, planned.plan)
                    _verify_and_replace(run, planned, submitter)
                    planned.open_issues()
                except (BadFunctionError, MediaError, UploadError):
                    planned.undo_upload()
                    raise
        except BaseException as error:
            run.finish_report(time.perf_counter() - started)
            try:
                planned.store_report()
            except StorageError as of_report:
                error.add_note(str(of_report))
            raise
        finally:
            if progress is not None:
                progress.finish()
    report = run.finish_report(time.perf_counter() - started)
    planned.store_report()
    if report.open_ends:
        raise IncompleteRunError(
            f"task {report.task_id}: the run is not complete: {'; '.join(report.open_ends)}. Run it again"
            " when no other run is on the task; it adds nothing twice",
            report,
        )
    return report


def _annotate(run: Run, planned: PlannedRun[Any], submitter: Submitter, progress: Progress | None) -> None:
    """Run all stages of all batches."""
    in_flight: deque[Sequence[Any]] = deque()
    try:
        batches = planned.batches()
        while (batch := next(batches, None)) is not None:
            in_flight.append(submitter.submit_batch(planned, batch))
            if len(in_flight) == run.options.window:  # before making the next batch, which may then be larger
                _await(in_flight, progress)
        while in_flight:
            _await(in_flight, progress)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            logger.warning("task %d: interrupted; waiting for the batches in flight", run.task_id)
        run.stop()
        for futures in in_flight:
            _settle(futures)
        raise


def _check_function_worked(run: Run, plan: Plan) -> None:
    """Check that the function has not failed on every frame, if failed frames are skipped.

    Raises:
        BadFunctionError: The function has failed on all frames.
    """
    errors = run.report.frame_errors
    if errors and len(run.failed_frames) == len(plan.frames):
        frame = min(errors)
        raise BadFunctionError(
            f"the function failed on all of {pluralize(len(plan.frames), 'frame')}, on frame {frame} with:"
            f" {errors[frame]}"
        )


def _verify_and_replace(run: Run, planned: PlannedRun[Any], submitter: Submitter) -> None:
    """Verify the added annotations, then remove those that they replace.

    After an interruption, wait for this stage to end: nothing may be written after the run.
    """
    future = submitter.submit("finish_upload", planned)
    try:
        future.result()
    except BaseException:
        run.stop()
        _settle((future,))
        raise


def _await(in_flight: deque[Sequence[Any]], progress: Progress | None) -> None:
    """Wait for the first batch, then remove it from the queue: an interruption must find it there.

    Awaiting each stage in turn raises the error of the first stage that failed. The last stage returns the
    number of frames.
    """
    frames = 0
    for future in in_flight[0]:
        frames = future.result()
    in_flight.popleft()
    if progress is not None:
        progress.advance(frames)


def _settle(futures: Sequence[Any]) -> None:
    """Cancel stages that have not begun, and wait for the others: nothing may be written after the run."""
    for future in futures:
        if isinstance(future, Future):
            future.cancel()
    for future in futures:
        try:
            future.result()
        except Exception:  # noqa: S112 (the error that ended the run is being raised already)
            continue


class ThreadSubmitter:
    """Runs stages in threads of this process: one for each stage, so that the stages overlap."""

    def __init__(self) -> None:
        self._executors: dict[str, ThreadPoolExecutor] = {}
        self._before: dict[str, Future[Any]] = {}

    def submit(self, stage: str, run: Any, *args: Any) -> Future[Any]:
        """Run a stage; its own thread waits for futures among the arguments."""
        executor = self._executors.get(stage)
        if executor is None:
            executor = self._executors[stage] = ThreadPoolExecutor(1, thread_name_prefix=stage)
        return executor.submit(_call, getattr(run, stage), args)

    def submit_batch(self, run: PlannedRun[Any], batch: Batch) -> Sequence[Future[Any]]:
        """Run the stages of a batch, each in its thread."""
        futures: dict[str, Future[Any]] = {}
        result: Sequence[Any] = ()
        for stage in STAGES:
            after = [self._before[stage]] if stage in run.in_order and self._before else []
            futures[stage] = self.submit(stage, run, batch, *result, *after)
            result = [futures[stage]]
        self._before = futures
        return list(futures.values())

    def __enter__(self) -> ThreadSubmitter:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in self._executors.values():
            executor.shutdown(cancel_futures=True)


def _call(method: Callable[..., Any], args: Sequence[Any]) -> Any:
    return method(*(arg.result() if isinstance(arg, Future) else arg for arg in args))
