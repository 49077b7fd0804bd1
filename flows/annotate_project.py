"""The flow that annotates all tasks of a project that match, each by a run of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import Annotated, Any

import httpx
from prefect import flow, get_run_logger, tags
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import Field

from prefect_cvat.corrections.project_savings import saved_in_tasks
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RunNotFoundError,
    RunsFailedError,
)
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.fan_out import FanOut, FinishedRun, PlannedRun, run_all
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_keys import key_tag, load_function_key, run_key, settings_tag, task_tag
from prefect_cvat.flows.form_titles_and_choices import DetectionFunctionName, form
from prefect_cvat.flows.function_choice import DETECTION_FUNCTION, choose_function, chosen_name
from prefect_cvat.flows.project_report import Outcome, ProjectReport, publish_project_report
from prefect_cvat.flows.run_history import RunHistory
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.models import DataMeta, Label, Task
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ExecutionSettings, ReviewOptions
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.task_selection_options import TaskSelection
from prefect_cvat.planning.task_search import FoundTask, check_scope, find_tasks, list_tasks
from prefect_cvat.runs.shards import make_shards
from prefect_cvat.tasks.client_retries import ask_busy_server_again_soon
from prefect_cvat.tasks.wait_for_task import remove_unused_limits

__all__ = ["annotate_project"]


def _name_run() -> str:
    project = flow_run.parameters.get("project_id")
    if project is None:
        which = "all tasks" if flow_run.parameters.get("all_tasks") else "no project"
    else:
        which = f"project {project}"
    return f"annotate {which} with {chosen_name(flow_run.parameters)}"


@flow(name="annotate project", flow_run_name=_name_run, persist_result=False, retries=0)
@form
def annotate_project(
    credentials: CvatCredentials,
    project_id: Annotated[int, Field(ge=1)] | None = None,
    tasks: TaskSelection = TaskSelection(),
    all_tasks: bool = False,
    function: DetectionFunctionName = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    labels: LabelOptions = LabelOptions(),
    existing_annotations: ExistingOptions = ExistingOptions(),
    review: ReviewOptions = ReviewOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
    fan_out: FanOut = FanOut(),
    saved_time: bool = False,
) -> ProjectReport:
    """Annotate all tasks of a CVAT project that match, each by a run of the flow `annotate task`.

    Without a project a run fails: give `project_id`, or ask for all tasks with `all_tasks`.

    Args:
        credentials: The block that says how to log in to CVAT.
        project_id: The number of the project in CVAT.
        tasks: Which of its tasks.
        all_tasks: In place of a project, all tasks that the user may see, of any project or none.
        function: A built-in function or a registered one; or a module that the worker allows.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function, labels and annotations.
        labels: Which labels of the function are written, and from which confidence on.
        existing_annotations: What is done with existing annotations.
        review: Which frames are proposed for review.
        annotations: What the annotations are like that are written.
        execution: Where the model runs, how much is done at a time, and what is kept.
        fan_out: On which workers, how many runs at a time, and in which pieces.
        saved_time: Report what earlier runs have saved correctors. It reads the annotations of all tasks.

    Returns:
        The report: which runs completed, which failed, and which tasks were left out.

    Raises:
        ValueError: Neither a project nor `all_tasks` is given, or both.
        RunsFailedError: Runs on tasks did not complete.
    """
    check_scope(project_id, all_tasks)
    chosen = choose_function(function_block, function, function_parameters, execution, labels, annotations)
    shared: dict[str, Any] = {
        "credentials": credentials,
        "function": function,
        "function_parameters": function_parameters,
        "function_block": function_block,
        "labels": labels,
        "annotations": annotations,
        "existing_annotations": existing_annotations,
        "execution": execution,
        "review": review,
    }
    report = ProjectReport(url=credentials.url)
    version, is_for_task = load_function_key(chosen, credentials.url, warn=report.history_unknown.append)
    options = Options.of_form(chosen, existing_annotations, execution, review)
    logger = get_run_logger()
    try:
        with credentials.get_client() as client, get_client(sync_client=True) as prefect:
            client.check_may_write()
            ask_busy_server_again_soon(prefect)
            with suppress(httpx.HTTPError):  # killed runs have left them
                remove_unused_limits()
            search = _Search(
                client, prefect, chosen.function, version, options, tasks, report, is_for_task=is_for_task
            )
            planned = search.planned_runs(project_id, all_tasks, fan_out.shard_frames)
            is_here = fan_out.deployment is None
            runs = (
                _run_here(planned, shared)
                if is_here
                else run_all(planned, fan_out, shared, partial(_add_run, report))
            )
            with closing(runs):
                for run in runs:
                    logger.info("%s: %s", run.planned.name, run.state.name)
                    _add_run(report, run)
            if saved_time:
                _add_saved_time(report, client, project_id, all_tasks)
    finally:  # also of a cancelled run
        publish_project_report(report)
        for line in report.lines():
            logger.info(line)
    if report.failed:
        raise RunsFailedError(
            f"{len(report.failed)} of {len(report.failed) + len(report.completed)} runs did not complete: "
            + "; ".join(f"{name}: {reason}" for name, reason in list(report.failed.items())[:5])
        )
    return completed(report, report.lines()[0])


def _add_run(report: ProjectReport, run: FinishedRun) -> None:
    """Add a run to the report."""
    outcome: Outcome = "failed"
    if run.state.is_completed():
        outcome = "already annotated" if run.was_done else "completed"
    message = run.state.message or str(run.state.name)
    report.add(run.planned.name, run.planned.task_id, outcome, message, run.id)


def _add_saved_time(report: ProjectReport, client: Client, project_id: int | None, all_tasks: bool) -> None:
    """Add to the report what runs have saved, as far as their records are on this machine."""
    found = list_tasks(client, TaskSelection(), project_id, all_tasks=all_tasks)
    name = "all tasks" if project_id is None else f"project {project_id}"
    url = client.url if project_id is None else f"{client.url}/projects/{project_id}"
    try:
        report.saved = saved_in_tasks(client, (task.id for task in found), name=name, url=url)
    except RunNotFoundError as error:
        report.saved_unknown = str(error)


class _Search:
    """Searches the tasks that need a run.

    Args:
        client: The CVAT server.
        prefect: The Prefect server.
        function: The name of the function.
        version: The digest of the function.
        options: The options of the runs.
        selection: Which tasks.
        report: Gets the tasks that are annotated already, and those that cannot be annotated.
        is_for_task: Whether the function is made for the labels of each task.
    """

    def __init__(
        self,
        client: Client,
        prefect: SyncPrefectClient,
        function: str,
        version: str,
        options: Options,
        selection: TaskSelection,
        report: ProjectReport,
        *,
        is_for_task: bool,
    ) -> None:
        self._client = client
        self._function = function
        self._version = version
        self._options = options
        self._selection = selection
        self._report = report
        self._is_for_task = is_for_task
        self._settings = settings_tag(client.url, version, "annotate", options)
        self._history: RunHistory | None = None
        if selection.without_finished_run:
            self._history = RunHistory(prefect, self._settings)

    def planned_runs(
        self, project_id: int | None, all_tasks: bool, shard_frames: int | None
    ) -> Iterator[PlannedRun]:
        """The runs on the tasks found."""
        for found in find_tasks(
            self._client,
            self._selection,
            project_id,
            all_tasks=all_tasks,
            is_done=self._is_done,
            on_skipped=lambda task, why: self._report.add(f"task {task.id}", task.id, "left out", why),
        ):
            info = found.plan.info
            key = self._key_tag(found.task.id, info.meta, info.labels)
            for jobs in self._jobs_of_runs(found, key, shard_frames):
                yield PlannedRun(
                    task_id=found.task.id,
                    name=_name(found.task.id, jobs),
                    key_tag=key,
                    jobs=jobs,
                    tags=(self._settings, task_tag(self._client.url, found.task.id)),
                    parameters={"task_id": found.task.id, "frames": FrameOptions(jobs=jobs)},
                    is_repeated=self._history is None,
                )

    def _is_done(self, task: Task) -> bool:
        """Whether completed runs have annotated all of a task.

        At most one request to CVAT; for a function that is made for a task two, as its labels may change
        without a trace in the task.
        """
        history = self._history
        if history is None or not history.has_annotated(task):
            return False
        if self._is_for_task or not history.is_unchanged(task):
            try:
                meta = self._client.meta(task.id)
                labels = self._client.labels(task.id) if self._is_for_task else ()
            except (NotFoundError, PermissionDeniedError, InvalidResponseError):
                return False  # reading the whole task reports it
            if not history.has_annotated_all(task, self._key_tag(task.id, meta, labels)):
                return False
            history.mark_unchanged(task)
        self._report.add(_name(task.id, None), task.id, "already annotated")
        return True

    def _jobs_of_runs(
        self, found: FoundTask, key: str, shard_frames: int | None
    ) -> Sequence[tuple[int, ...] | None]:
        """The jobs of each run on a task; None for all jobs."""
        task, all_jobs = found.task, [job.id for job in found.plan.jobs]
        wanted = all_jobs if found.jobs is None else list(found.jobs)
        if self._history is not None:
            done = self._history.annotated_jobs(task, key, all_jobs)
            if len(done) == len(all_jobs):
                self._history.mark_unchanged(task)
            annotated = done.intersection(wanted)
            wanted = [job for job in wanted if job not in done]
            if annotated:
                name = _name(task.id, sorted(annotated) if wanted else None)
                self._report.add(name, task.id, "already annotated")
        if not wanted:
            return ()
        return _split_jobs(found, None if wanted == all_jobs else tuple(wanted), shard_frames)

    def _key_tag(self, task_id: int, meta: DataMeta, labels: Sequence[Label]) -> str:
        media = meta.chunks_updated_date
        made_for = labels if self._is_for_task else ()
        key = run_key(self._client.url, task_id, media, self._version, "annotate", self._options, made_for)
        return key_tag(self._function, key)


def _split_jobs(
    found: FoundTask, jobs: tuple[int, ...] | None, shard_frames: int | None
) -> list[tuple[int, ...] | None]:
    """The jobs of each run on a task; None for all jobs."""
    if shard_frames is None or len(found.plan.frames) <= shard_frames:
        return [jobs]
    return list(make_shards(found.plan, jobs, shard_frames))


def _name(task_id: int, jobs: Sequence[int] | None) -> str:
    task = f"task {task_id}"
    if jobs is None:
        return task
    return f"{task}, job {jobs[0]}" if len(jobs) == 1 else f"{task}, jobs {jobs[0]}-{jobs[-1]}"


def _run_here(planned: Iterator[PlannedRun], shared: dict[str, Any]) -> Generator[FinishedRun, None, None]:
    """Run one after the other in this process."""
    for run in planned:
        with tags(run.key_tag, *run.tags):
            state: State[Any] = annotate_task(**shared, **run.parameters, return_state=True)
        yield FinishedRun(run, state, state.state_details.flow_run_id)
