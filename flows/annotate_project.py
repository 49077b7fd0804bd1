"""The flow that annotates all tasks of a project that match, each by a run of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from prefect import flow, get_run_logger, tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import Field

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import RunsFailedError
from prefect_cvat.existing import Existing
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.fan_out import FanOut, FinishedRun, PlannedRun, carry_out_runs
from prefect_cvat.flows.parameters import (
    DETECTION_FUNCTION,
    FrameSelection,
    LabelMatching,
    RunSettings,
    Threshold,
    choose_function,
    make_options,
)
from prefect_cvat.flows.project_report import ProjectReport, publish_project_report
from prefect_cvat.flows.run_tags import function_version, last_run, run_key, task_tag
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.shards import make_shards
from prefect_cvat.task_search import FoundTask, TaskSelection, find_tasks
from prefect_cvat.tasks.devices import loaded_function

__all__ = ["annotate_project"]


def _name_run() -> str:
    project = flow_run.parameters.get("project_id")
    block = flow_run.parameters.get("function_block")
    function = flow_run.parameters.get("function") if block is None else block.function
    return f"annotate {'all tasks' if project is None else f'project {project}'} with {function}"


@flow(name="annotate project", flow_run_name=_name_run, persist_result=True, retries=0)
def annotate_project(
    credentials: CvatCredentials,
    project_id: Annotated[int, Field(ge=1)] | None = None,
    tasks: TaskSelection = TaskSelection(),  # noqa: B008 (frozen; the form shows its fields)
    function: str = DETECTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    existing: Existing = Existing.KEEP,
    conf_threshold: Threshold | None = None,
    allow_unmatched_labels: bool = False,
    conv_mask_to_poly: bool = False,
    labels: LabelMatching = LabelMatching(),  # noqa: B008
    settings: RunSettings = RunSettings(),  # noqa: B008
    fan_out: FanOut = FanOut(),  # noqa: B008
) -> ProjectReport:
    """Annotate all tasks of a CVAT project that match, each by a run of the flow `annotate task`.

    Args:
        credentials: The block that says how to log in to CVAT.
        project_id: The number of the project in CVAT; empty for all tasks that the user may see.
        tasks: Which tasks of it.
        function: A built-in function, such as nanodet_detection, or one that a package has registered.
        function_parameters: Parameters of the function, each value as type:value, such as float:0.3.
        function_block: A block with a configured function, instead of the function and its thresholds here.
        existing: What becomes of the annotations that the tasks have already.
        conf_threshold: The least score, 0 to 1; empty leaves it to the function.
        allow_unmatched_labels: Drop what a task has no label for, instead of refusing.
        conv_mask_to_poly: Write polygons instead of masks.
        labels: How the labels of the function are matched with those of a task.
        settings: Where the model of each run works, how much is done at a time, and what is kept.
        fan_out: On which workers, how many runs at a time, and in which pieces.

    Returns:
        What was done.
    """
    chosen = choose_function(
        function_block,
        function,
        function_parameters,
        labels=labels,
        device=settings.device,
        conf_threshold=conf_threshold,
        allow_unmatched_labels=allow_unmatched_labels,
        conv_mask_to_poly=conv_mask_to_poly,
    )
    shared: dict[str, Any] = {
        "credentials": credentials,
        "function": function,
        "function_parameters": function_parameters,
        "function_block": function_block,
        "existing": existing,
        "conf_threshold": conf_threshold,
        "allow_unmatched_labels": allow_unmatched_labels,
        "conv_mask_to_poly": conv_mask_to_poly,
        "labels": labels,
        "settings": settings,
    }
    with loaded_function(chosen) as loaded:
        version = function_version(chosen, loaded)
    report = ProjectReport()
    logger = get_run_logger()
    with credentials.get_client() as client:
        found = find_tasks(client, tasks, project_id, tell=report.not_annotatable.append)
        planned: Iterator[PlannedRun] = (
            _planned_run(client.url, task, jobs, chosen, version, existing, settings)
            for task in found
            for jobs in _pieces(task, fan_out.shard_frames)
        )
        if tasks.without_finished_run:
            planned = _without_finished_run(planned, report)
        if fan_out.deployment is None:
            ended = _carry_out_here(planned, shared)
        else:
            ended = carry_out_runs(planned, fan_out, shared)
        for run in ended:
            logger.info("%s: %s", run.name, run.state.name)
            if run.state.is_completed():
                report.completed.append(run.name)
            else:
                # its first line; the run itself shows all of it
                report.failed[run.name] = (run.state.message or str(run.state.name)).partition("\n")[0]
    publish_project_report(report)
    for line in report.lines():
        logger.info(line)
    if report.failed:
        raise RunsFailedError(
            f"{len(report.failed)} of {len(report.failed) + len(report.completed)} runs did not complete: "
            + "; ".join(f"{name}: {why}" for name, why in list(report.failed.items())[:5])
        )
    return report


def _pieces(found: FoundTask, shard_frames: int | None) -> list[tuple[int, ...] | None]:
    """The jobs of each run on a task; None for all of them."""
    if shard_frames is None or len(found.plan.frames) <= shard_frames:
        return [found.jobs]
    return list(make_shards(found.plan, found.jobs, shard_frames))


def _planned_run(
    url: str,
    found: FoundTask,
    jobs: tuple[int, ...] | None,
    function: CvatFunction,
    version: str,
    existing: Existing,
    settings: RunSettings,
) -> PlannedRun:
    task = found.task
    frames = FrameSelection(jobs=None if jobs is None else list(jobs))
    options = make_options(function, frames, settings, existing=existing)
    media = found.plan.info.meta.chunks_updated_date
    return PlannedRun(
        name=f"task {task.id}" if jobs is None else f"task {task.id}, jobs {jobs[0]}-{jobs[-1]}",
        key=run_key(url, task.id, media, version, "annotate", options),
        tags=(task_tag(url, task.id), function.function),
        parameters={"task_id": task.id, "frames": frames},
    )


def _without_finished_run(planned: Iterator[PlannedRun], report: ProjectReport) -> Iterator[PlannedRun]:
    with get_client(sync_client=True) as prefect:
        for run in planned:
            before, _ = last_run(prefect, run.key)
            if before is not None and before.state is not None and before.state.is_completed():
                report.done_before.append(run.name)
            else:
                yield run


def _carry_out_here(planned: Iterator[PlannedRun], shared: dict[str, Any]) -> Iterator[FinishedRun]:
    for run in planned:
        with tags(run.key, *run.tags):
            state: State[Any] = annotate_task(**shared, **run.parameters, return_state=True)
        yield FinishedRun(run.name, state)
