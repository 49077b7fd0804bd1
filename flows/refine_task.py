"""The flow that refines rectangles and points of one task to masks or polygons."""

from __future__ import annotations

from prefect import flow

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.form_titles_and_choices import InteractionFunctionName, form
from prefect_cvat.flows.function_choice import TaskId, choose_function, name_run
from prefect_cvat.flows.run_on_task import run_on_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.execution_options import FetchSettings
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.refine_run import RefineRun
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["refine_task"]

INTERACTION_FUNCTION = "grabcut_interaction"


@flow(name="refine task", flow_run_name=name_run, persist_result=False, retries=0)
@form
def refine_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: InteractionFunctionName = INTERACTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    refine_options: RefineOptions = RefineOptions(),
    frames: FrameOptions = FrameOptions(),
    execution: FetchSettings = FetchSettings(),
) -> RunReport:
    """Turn rectangles and points of a CVAT task into masks or polygons, with an interaction function.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A built-in function, such as grabcut_interaction, or one that a package has registered.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of the function here.
        refine_options: Which shapes are refined, and into what.
        frames: Which frames and jobs, and which images of them.
        execution: Where the model runs, and how much is done at a time.

    Returns:
        What was done.
    """
    chosen = choose_function(function_block, function, function_parameters, execution)
    options = Options.of_form(frames, execution)
    return run_on_task(
        credentials,
        task_id,
        chosen,
        options,
        lambda client, loaded: RefineRun(
            client, task_id, loaded, options, refine_options, function_name=chosen.function
        ),
        kind=("refine", refine_options),
    )
