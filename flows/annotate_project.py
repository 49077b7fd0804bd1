"""The flow that annotates all tasks of a project that match, each by a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any

import httpx
from prefect import flow, get_run_logger, tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import Field

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import RunsFailedError
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.fan_out import FanOut, FinishedRun, PlannedRun, run_all
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_tags import completed_jobs, key_tag, load_function_key, run_key, task_tag
from prefect_cvat.flows.function_choice import DETECTION_FUNCTION, choose_function, chosen_name
from prefect_cvat.flows.project_report import ProjectReport, publish_project_report
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ExecutionSettings, ReviewOptions
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.task_selection_options import TaskSelection
from prefect_cvat.planning.task_search import FoundTask, check_scope, find_tasks
from prefect_cvat.runs.shards import make_shards
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
def annotate_project(
    credentials: CvatCredentials,
    project_id: Annotated[int, Field(ge=1)] | None = None,
    tasks: TaskSelection = TaskSelection(),
    all_tasks: bool = False,
    function: str = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    labels: LabelOptions = LabelOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    existing_annotations: ExistingOptions = ExistingOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
    review: ReviewOptions = ReviewOptions(),
    fan_out: FanOut = FanOut(),
) -> ProjectReport:
    """Annotate all tasks of a CVAT project that match, each by a run of the flow `annotate task`.

    Without a project a run fails: give `project_id`, or ask for all tasks with `all_tasks`.

    Args:
        credentials: The block that says how to log in to CVAT.
        project_id: The number of the project in CVAT.
        tasks: Which of its tasks.
        all_tasks: In place of a project, all tasks that the user may see, of any project or none.
        function: A built-in function, such as nanodet_detection, or one that a package has registered.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function, labels and annotations.
        labels: Which labels of the function are written, and from which confidence on.
        annotations: What the annotations are like that are written.
        existing_annotations: What is done with existing annotations.
        execution: Where the model runs, how much is done at a time, and what is kept.
        review: Which frames are proposed for review.
        fan_out: On which workers, how many runs at a time, and in which pieces.

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
    report = ProjectReport()
    version = load_function_key(chosen, credentials.url, warn=report.history_unknown.append)
    options = Options.of_form(chosen, existing_annotations, execution, review)

    def tag_of(found: FoundTask) -> str:
        info = found.plan.info
        media = info.meta.chunks_updated_date
        key = run_key(credentials.url, info.task.id, media, version, "annotate", options)
        return key_tag(chosen.function, key)

    logger = get_run_logger()
    try:
        with credentials.get_client() as client:
            client.check_may_write()
            with suppress(httpx.HTTPError):  # killed runs have left them
                remove_unused_limits()
            found = find_tasks(
                client, tasks, project_id, all_tasks=all_tasks, on_skipped=report.left_out.append
            )
            planned = _planned_runs(client.url, found, fan_out.shard_frames, tag_of, report, tasks)
            if fan_out.deployment is None:
                finished = _run_here(planned, shared)
            else:
                finished = run_all(planned, fan_out, shared)
            for run in finished:
                logger.info("%s: %s", run.name, run.state.name)
                if run.state.is_completed():
                    report.completed.append(run.name)
                else:
                    # the first line of the message; the run itself shows all of it
                    reason = one_line((run.state.message or str(run.state.name)).partition("\n")[0])
                    report.failed[run.name] = reason
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


def _planned_runs(
    url: str,
    found: Iterable[FoundTask],
    shard_frames: int | None,
    tag_of: Callable[[FoundTask], str],
    report: ProjectReport,
    selection: TaskSelection,
) -> Iterator[PlannedRun]:
    """The runs on the tasks found; tasks that completed runs have annotated are added to the report."""
    with get_client(sync_client=True) as prefect:
        for task in found:
            tag = tag_of(task)
            all_jobs = [job.id for job in task.plan.jobs]
            wanted = all_jobs if task.jobs is None else list(task.jobs)
            if selection.without_finished_run:
                done = completed_jobs(prefect, tag, wanted)
                wanted = [job for job in wanted if job not in done]
                if done:
                    report.already_annotated.append(_name(task, sorted(done) if wanted else None))
            if not wanted:
                continue
            for jobs in _split_jobs(task, None if wanted == all_jobs else tuple(wanted), shard_frames):
                yield PlannedRun(
                    name=_name(task, jobs),
                    key_tag=tag,
                    jobs=jobs,
                    tags=(task_tag(url, task.task.id),),
                    parameters={
                        "task_id": task.task.id,
                        "frames": FrameOptions(jobs=jobs),
                    },
                )


def _split_jobs(
    found: FoundTask, jobs: tuple[int, ...] | None, shard_frames: int | None
) -> list[tuple[int, ...] | None]:
    """The jobs of each run on a task; None for all jobs."""
    if shard_frames is None or len(found.plan.frames) <= shard_frames:
        return [jobs]
    return list(make_shards(found.plan, jobs, shard_frames))


def _name(found: FoundTask, jobs: Sequence[int] | None) -> str:
    task = f"task {found.task.id}"
    if jobs is None:
        return task
    return f"{task}, job {jobs[0]}" if len(jobs) == 1 else f"{task}, jobs {jobs[0]}-{jobs[-1]}"


def _run_here(planned: Iterator[PlannedRun], shared: dict[str, Any]) -> Iterator[FinishedRun]:
    """Run one after the other in this process."""
    for run in planned:
        with tags(run.key_tag, *run.tags):
            state: State[Any] = annotate_task(**shared, **run.parameters, return_state=True)
        yield FinishedRun(run.name, state)
