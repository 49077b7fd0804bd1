"""The flow that exports one task as a dataset for training, into a folder of the worker."""

from __future__ import annotations

from datetime import UTC, datetime

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.export import export_task as export
from prefect_cvat.export.export_report import ExportReport
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_keys import add_tags, task_tag
from prefect_cvat.flows.form_titles_and_choices import OptionalFunction, form
from prefect_cvat.flows.function_choice import TaskId, choose_function, chosen_name
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.export_options import ExportOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.titles import named_as_in_form
from prefect_cvat.rendering.run_report_markdown import escape
from prefect_cvat.runs.reports.report_model import RunReport
from prefect_cvat.settings import Settings
from prefect_cvat.tasks.artifacts import ArtifactProgress, warn_if_refused
from prefect_cvat.tasks.prefect_limits import server_slot
from prefect_cvat.tasks.stages import PrefectSubmitter
from prefect_cvat.tasks.wait_for_device import loaded_function

__all__ = ["export_task"]


def name_run() -> str:
    """The name of a run, such as `export task 42 with nanodet_detection`."""
    parameters = flow_run.parameters
    name = chosen_name(parameters)
    return f"export task {parameters['task_id']}{f' with {name}' if name else ''}"


@flow(name="export task", flow_run_name=name_run, persist_result=False, retries=0)
@form
def export_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: OptionalFunction = "",
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    dataset: ExportOptions = ExportOptions(),
    labels: LabelOptions = LabelOptions(),
    frames: FrameOptions = FrameOptions(),
    annotations: AnnotationOptions = AnnotationOptions(),
    execution: ExecutionSettings = ExecutionSettings(),
) -> ExportReport:
    """Export the annotations of a CVAT task, or what a function finds in it, as a dataset; change nothing.

    The dataset is a new folder of the worker, under `PREFECT_CVAT_EXPORTS_DIR`; its name has the number of
    the task and the beginning of the id of the flow run.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A function, such as nanodet_detection; empty exports the annotations of the task.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of function, labels and annotations.
        dataset: The format of the dataset, and what is in it.
        labels: Which labels of the function count, and from which confidence on.
        frames: Which frames and jobs, and which images of them.
        annotations: What the annotations are like that the function makes.
        execution: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was exported, and into which folder.
    """
    logger = get_run_logger()
    chosen = None
    if function or function_block is not None:
        chosen = choose_function(
            function_block, function, function_parameters, execution, labels, annotations
        )
    name = chosen.function if chosen else None
    with named_as_in_form(), credentials.get_client() as client:
        add_tags([task_tag(client.url, task_id), *([name] if name else [])])
        started = RunReport(
            task_id=task_id,
            task_name="",
            url=f"{client.url}/tasks/{task_id}",
            function=name or "export",
            started=datetime.now(UTC),
        )
        with (
            loaded_function(chosen, client.url, warn=logger.warning)
            if chosen
            else server_slot(client.url, warn=logger.warning)
        ) as loaded:
            done = export(
                client,
                task_id,
                loaded,
                folder=Settings().exports_dir / f"task-{task_id}-{str(flow_run.id)[:8]}",
                format=dataset.format,
                images=dataset.images,
                left_by_runs=dataset.left_by_runs,
                function_name=name,
                options=Options.of_form(labels if chosen is None else chosen, frames, execution),
                progress=ArtifactProgress(started, logger),
                submitter=PrefectSubmitter(),
            )
    for line in done.lines():
        logger.info(line)
    headline = f"{pluralize(done.frames, 'frame')} exported to {done.folder}"
    with warn_if_refused():
        text = "\n\n".join(map(escape, done.lines()))
        create_markdown_artifact(text, f"export-task-{task_id}", escape(headline))
    return completed(done, headline)
