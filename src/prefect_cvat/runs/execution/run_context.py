"""The state shared by all stages of a run: server, options, report, and whether to stop."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from prefect_cvat.annotations.remapped_detections import Annotations
from prefect_cvat.auto_annotation.interface import AutoAnnotationFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import PrefectCvatError, RunStoppedError
from prefect_cvat.inference.function_digest.digest import FunctionDigest, digest_of
from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.messages.bounded_text import shorten
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import Batch
from prefect_cvat.records.run_lock import RunLock
from prefect_cvat.review.frame_summary import FrameSummaries
from prefect_cvat.runs.execution.stage_clock import StageClock, Stopwatch
from prefect_cvat.runs.reports.frame_and_annotation_counts import count_batch
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["RunContext", "Workspace"]


class Workspace:
    """The resources of a run while it is in progress.

    Attributes:
        folder: A folder for temporary files.
        lock: The lock on the task; None for a run that writes nothing.
    """

    def __init__(self, folder: Path, lock: RunLock | None = None) -> None:
        self.folder = folder
        self.lock = lock


class RunContext:
    """Server, options, report and stop flag of a run. May be used from several threads.

    Args:
        client: The server.
        task_id: The id of the task.
        function: The function.
        options: The options of the run.
        function_name: The name of the function in the report.

    Attributes:
        function: The function; until it is made, what makes it.
        made_for: What it was made for, see `FunctionForTask.made_for`.
        provenance: The provenance of the annotations.
        report: The report of the run so far.
        failed_frames: The frames skipped because the function failed on them.
        summaries: The summaries that rank frames for review.
        stopped: Set to stop the run.
    """

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: AutoAnnotationFunction,
        options: Options,
        function_name: str,
    ) -> None:
        self.function = function
        self.made_for = ""
        self.client = client
        self.task_id = task_id
        self.options = options
        self.provenance = Provenance.of(function_name, options)
        self.report = RunReport(
            run=str(uuid.uuid4()),
            task_id=task_id,
            task_name="",
            url=f"{client.url}/tasks/{task_id}",
            function=function_name,
            started=datetime.now(UTC),
            provenance=self.provenance,
        )
        self.failed_frames = NumberSet()
        self.summaries = FrameSummaries()
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._clock = StageClock(self.report.stage_seconds)

    @cached_property
    def function_digest(self) -> FunctionDigest:
        """The digest of the function, computed once; for a function that is made already."""
        return digest_of(self.function, self.made_for)

    @contextmanager
    def updating_report(self) -> Iterator[RunReport]:
        """The report, while no other thread changes it."""
        with self._lock:
            yield self.report

    def count(self, annotations: Annotations) -> None:
        """Add the annotations of a batch to the report."""
        with self.updating_report() as report:
            count_batch(report, annotations)
            self.failed_frames.update(annotations.errors)
            self.summaries.extend(annotations.summaries)

    def pause(self, seconds: float = 0.0) -> None:
        """Wait.

        Raises:
            RunStoppedError: The run was stopped.
        """
        if self.stopped.wait(seconds):
            raise RunStoppedError(f"task {self.task_id}: the run was stopped while it waited for the server")

    def timing(self, stage: str) -> AbstractContextManager[Stopwatch]:
        """Add the duration of a `with` block to a stage in the report, see `StageClock`."""
        return self._clock.timing(stage)

    @contextmanager
    def working_on(self, batch: Batch) -> Iterator[None]:
        """Name the task and the batch in errors of this package.

        Raises:
            RunStoppedError: The run was stopped.
        """
        if self.stopped.is_set():
            raise RunStoppedError(f"task {self.task_id}: the run was stopped before {batch} was finished")
        try:
            yield
        except PrefectCvatError as error:
            where = f"task {self.task_id}, {batch}: "
            if error.args and not str(error.args[0]).startswith(where):
                error.args = (shorten(f"{where}{error.args[0]}"), *error.args[1:])
            raise
