"""A run of a function on a task, before and after it has a plan.

`AnnotateRun`, `TrackDetectionsRun`, `TrackShapesRun` and `RefineRun` are the kinds of runs. Each makes a plan
and returns a `PlannedRun`, which has the stages.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from prefect_cvat.auto_annotation.factory_calls import takes_no_prompts
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask, wait_for_labels
from prefect_cvat.auto_annotation.labels_for_factories import labels_of_task
from prefect_cvat.cvat.client import Client
from prefect_cvat.files.spool import spool_folder
from prefect_cvat.inference.provenance import function_version, name_of
from prefect_cvat.media.chunk_download import chunk_type
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.bounded_text import escape_unencodable
from prefect_cvat.models import Label
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.annotated_frames import exclude_annotated
from prefect_cvat.planning.plan import Plan, make_plan, read_task
from prefect_cvat.records.record_writer import checked_run_id
from prefect_cvat.records.run_lock import exclusive_run
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.runs.execution.run_context import RunContext, Workspace
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.settings import current_settings

__all__ = ["Run"]


class Run(ABC):
    """One run of a function on a task: its settings and its report.

    Not a dataclass, on purpose: Prefect would visit the contents of dataclasses, models and containers.

    Args:
        client: The server.
        task_id: The id of the task.
        function: The function; or its factory with a parameter `task_labels`, see `function_for_task`.
        options: The options of the run.
        function_name: The name of the function in the report.

    Attributes:
        leaves_out_annotated: Whether this kind of run can leave out annotated frames and objects.
        planned: The run with its plan, once there is one.

    Raises:
        FunctionLoadError: The function takes no prompts.
        ValueError: This kind of run does not support an option.
    """

    leaves_out_annotated: ClassVar[bool] = False

    def __init__(
        self,
        client: Client,
        task_id: int,
        function: Any,
        options: Options,
        *,
        function_name: str | None = None,
    ) -> None:
        if not self.leaves_out_annotated and options.leaves_out_annotated:
            raise ValueError(
                "only runs that annotate with shapes can leave out annotated frames and objects; tracking and"
                f" refining support neither selecting unannotated frames nor {argument('skip_existing_iou')}"
            )
        function = wait_for_labels(function)
        name = escape_unencodable(function_name or name_of(function))
        self.client = client
        self.task_id = task_id
        self.options = options
        self.context = RunContext(client, task_id, function, options, name)
        self._factory = function if isinstance(function, FunctionForTask) else None
        if self._factory is None:
            if options.prompts is not None:
                raise takes_no_prompts(name)
            self._use(function)
        self.provenance = self.context.provenance
        self.report = self.context.report
        self.failed_frames = self.context.failed_frames
        self.planned: PlannedRun[Any] | None = None

    def set_metadata(
        self, run_id: str | None = None, function_parameters: Mapping[str, str] | None = None
    ) -> None:
        """Set the id and the parameters in the report and the run record.

        Args:
            run_id: The id of the run; by default a new UUID.
            function_parameters: The parameters of the function, as `type:value`; secrets are hidden.

        Raises:
            ValueError: The id is not valid.
        """
        if run_id is not None:
            self.report.run = checked_run_id(run_id)
        self.provenance.take_parameters(function_parameters)

    @contextmanager
    def reserve_task(self) -> Iterator[Workspace]:
        """Lock the task and make a temporary folder.

        Waits until no request of an earlier run can still arrive.

        Raises:
            ReadOnlyTokenError: The client may not write.
            RunInProgressError: Another run is annotating this task.
            RunStoppedError: The run was stopped.
            StorageError: The folder cannot be created.
        """
        self.client.check_may_write()
        with exclusive_run(self.client.url, self.task_id, self.options.selection.jobs) as lock:
            lock.wait_for_earlier_write(current_settings().late_commit_seconds, self.context.pause)
            with spool_folder() as folder:
                yield Workspace(folder, lock)

    def plan_task(self, workspace: Workspace) -> PlannedRun[Any]:
        """Read the task, and plan the run.

        Raises:
            UnsupportedTaskError: The task does not support the annotations of the run.
            ValueError: The task lacks a selected label, frame or job.
        """
        with self.context.timing("plan"):
            self.planned = self._plan(workspace)
        return self.planned

    def stop(self) -> None:
        """Start no further stage of a batch: running stages complete, all others raise.

        Downloads end, and a stage that waits for one raises.

        Written annotations stay; running again completes the run.
        """
        self.context.stopped.set()
        if self.planned is not None:
            self.planned.stop()

    @property
    def seconds_until_settled(self) -> float:
        """Seconds until the server must have committed all unanswered requests."""
        return 0.0 if self.planned is None else self.planned.uploads.seconds_until_settled

    def finish_report(self, seconds: float) -> RunReport:
        """Complete the report of a run that has ended or failed.

        Args:
            seconds: The duration of the run in seconds.
        """
        if self.planned is not None:
            self.planned.update_report()
        self.report.seconds = seconds
        return self.report

    def close(self) -> None:
        """Close a function that was made for this run, of a factory."""
        if self._factory is not None and self._factory.is_of_run:
            self._factory.close()

    @abstractmethod
    def _plan(self, workspace: Workspace) -> PlannedRun[Any]: ...

    @abstractmethod
    def _use(self, function: Any) -> None:
        """Take the function into use.

        Raises:
            BadFunctionError: It is none for this kind of run.
        """

    def _make_function(self, labels: Sequence[Label]) -> None:
        """Make a function that is made for the labels of the task; the same again in a retry."""
        if self._factory is not None:
            function = self._factory.make(labels_of_task(labels), self.options.prompts)
            self.context.function, self.context.made_for = function, self._factory.made_for
            self._use(function)

    def _read_plan(self) -> Plan:
        """Read the task; plan which frames to annotate; make a function that is made for a task."""
        info = read_task(self.client, self.task_id, self.options.selection)
        chunk_type(info.task, self.options.quality)  # raises errors about the media now
        plan = make_plan(info, self.options.selection)
        if self.options.selection.unannotated:
            plan = exclude_annotated(self.client, plan)
        self._make_function(info.labels)
        self.provenance.function_version = function_version(
            self.context.function, self.context.function_digest
        )
        self.report.task_name = info.task.name
        self.report.url = info.page(self.client.url)
        self.report.left_out = {why.value: len(frames) for why, frames in plan.excluded.items()}
        self.report.nothing_to_do = plan.why_nothing
        return plan
