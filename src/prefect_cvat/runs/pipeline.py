"""The way of the data, composed once: plan, then for each batch fetch, detect, remap, upload.

The stages are methods of a `Run`. `run_pipeline` puts them together over anything that submits them
and returns futures: threads for scripts (`ThreadSubmitter`), Prefect tasks in the flow.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

from prefect_cvat.exceptions import BadFunctionError, IncompleteRunError, MediaError, UploadError
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.planning.plan import Plan
from prefect_cvat.runs.progress import Progress
from prefect_cvat.runs.report import RunReport
from prefect_cvat.runs.run import Run

__all__ = ["Submitter", "ThreadSubmitter", "run_pipeline"]

logger = logging.getLogger(__name__)


class Submitter(Protocol):
    """Something that carries out stages and returns futures; arguments may be futures of its own."""

    def submit(self, stage: str, run: Run, *args: Any) -> Any:
        """Carry out a stage, given by the name of a method of `Run`."""
        ...


def run_pipeline(
    run: Run,
    submitter: Submitter,
    progress: Progress | None = None,
    *,
    on_planned: Callable[[Plan], object] | None = None,
) -> RunReport:
    """Annotate a task.

    At most `window` batches are on their way at a time, whatever the size of the task: fetching runs
    ahead of detection, and uploading follows it.

    When the function breaks its contract, when an image is broken, or when the server stores something
    else than it was sent, all that the run has written is removed again. When the network or the
    server fails for good, or somebody cancels the run, what has been written stays, and running again
    completes it. Either way no stage of a batch is begun any more; those that are at work come to their end.

    Args:
        run: The run.
        submitter: Runs its stages.
        progress: Shows how many frames are done.
        on_planned: Called with the plan once the function is validated, before anything is downloaded.

    Raises:
        IncompleteRunError: The run has come to its end, and not all is on the server as it should be.
        PrefectCvatError: The run failed.
    """
    started = time.perf_counter()
    run.client.check_may_write()
    with run.hold():
        plan: Plan = submitter.submit("plan_task", run).result()
        submitter.submit("validate_spec", run).result()
        if on_planned is not None:
            on_planned(plan)
        if progress is not None:
            progress.start(len(plan.frames))
        try:
            with run.spool():
                try:
                    _annotate(run, plan, submitter, progress)
                    _check_something_worked(run)
                    _finish(run, submitter)
                    run.open_issues()
                except (BadFunctionError, MediaError, UploadError):
                    run.undo_upload()
                    raise
        finally:
            if progress is not None:
                progress.finish()
    report = run.complete(time.perf_counter() - started)
    if report.open_ends:
        raise IncompleteRunError(
            f"task {report.task_id}: the run is not complete: {'; '.join(report.open_ends)}. Run it again"
            " when no other run is on the task; it adds nothing twice",
            report,
        )
    return report


def _annotate(run: Run, plan: Plan, submitter: Submitter, progress: Progress | None) -> None:
    """Put all batches through their stages."""
    in_flight: deque[tuple[Any, ...]] = deque()
    before: dict[str, Any] = {}

    def submit(stage: str, *args: Any) -> Any:
        in_order = stage in run.in_order
        future = submitter.submit(stage, run, *args, *([before[stage]] if in_order and before else []))
        if in_order:
            after[stage] = future
        return future

    try:
        for batch in run.batches(plan):
            if len(in_flight) == run.options.window:
                _await(in_flight.popleft(), progress)
            after: dict[str, Any] = {}
            box = submit("fetch_batch", batch)
            found = submit("detect_batch", batch, box)
            annotations = submit("remap_labels", batch, found)
            done = submit("upload_batch", batch, annotations)
            in_flight.append((box, found, annotations, done))
            before = after
        while in_flight:
            _await(in_flight.popleft(), progress)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            logger.warning("task %d: interrupted; what is on its way comes to its end first", run.task_id)
        run.stop()
        for futures in in_flight:
            _settle(futures)
        raise


def _check_something_worked(run: Run) -> None:
    """Check that the function has not failed on each of the frames, although such frames are skipped.

    Raises:
        BadFunctionError: The function has failed on all frames.
    """
    failed = run.report.failed_frames
    if failed and len(run.failed) == len(run.plan.frames):
        frame = min(failed)
        raise BadFunctionError(
            f"the function failed on all of {pluralize(len(run.failed), 'frame')}, on frame {frame} with:"
            f" {failed[frame]}"
        )


def _finish(run: Run, submitter: Submitter) -> None:
    """Verify and replace. Whoever interrupts that waits until nothing is written any more."""
    future = submitter.submit("finish_upload", run)
    try:
        future.result()
    except BaseException:
        run.stop()
        _settle((future,))
        raise


def _await(futures: tuple[Any, ...], progress: Progress | None) -> None:
    """Wait for a batch. Asking each stage in turn brings up the error of the first that failed."""
    frames = 0
    for future in futures:
        frames = future.result()
    if progress is not None:
        progress.advance(frames)


def _settle(futures: tuple[Any, ...]) -> None:
    """Let a batch that is on its way come to its end: nothing may be written behind our back."""
    for future in futures:
        if isinstance(future, Future):
            future.cancel()
    for future in futures:
        try:
            future.result()
        except Exception:  # noqa: S112 (the error that ended the run is being raised already)
            continue


class ThreadSubmitter:
    """Carries out stages in threads of this process: one for each stage, so that the stages overlap."""

    def __init__(self) -> None:
        self._executors: dict[str, ThreadPoolExecutor] = {}

    def submit(self, stage: str, run: Run, *args: Any) -> Future[Any]:
        """Carry out a stage; futures among the arguments are waited for in the stage's own thread."""
        executor = self._executors.get(stage)
        if executor is None:
            executor = self._executors[stage] = ThreadPoolExecutor(1, thread_name_prefix=stage)
        return executor.submit(_call, getattr(run, stage), args)

    def __enter__(self) -> ThreadSubmitter:
        return self

    def __exit__(self, *_: object) -> None:
        for executor in self._executors.values():
            executor.shutdown(cancel_futures=True)


def _call(method: Callable[..., Any], args: Sequence[Any]) -> Any:
    return method(*(arg.result() if isinstance(arg, Future) else arg for arg in args))
