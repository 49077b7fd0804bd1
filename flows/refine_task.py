"""The flow that refines rectangles and points of one task to masks or polygons."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow
from pydantic import Field

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.flows.parameters import (
    FrameSelection,
    RunSettings,
    TaskId,
    choose_function,
    make_options,
    name_run,
)
from prefect_cvat.flows.run_on_task import run_on_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.models import SourceEnum
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.runs.refine_run import RefineRun
from prefect_cvat.runs.report import RunReport

__all__ = ["refine_task"]

INTERACTION_FUNCTION = "grabcut_interaction"


@flow(name="refine task", flow_run_name=name_run, persist_result=False, retries=0)
def refine_task(
    task_id: TaskId,
    credentials: CvatCredentials,
    function: str = INTERACTION_FUNCTION,
    function_parameters: dict[str, str] | None = None,
    function_block: CvatFunction | None = None,
    labels: list[str] | None = None,
    sources: list[SourceEnum] | None = None,
    shape_types: list[Literal["rectangle", "points"]] | None = None,
    to: Literal["mask", "polygon"] = "mask",
    keep_originals: bool = False,
    tolerance: Annotated[float, Field(ge=0)] = 1.0,
    frames: FrameSelection = FrameSelection(),  # noqa: B008 (frozen; the form shows its fields)
    settings: RunSettings = RunSettings(),  # noqa: B008
) -> RunReport:
    """Turn rectangles and points of a CVAT task into masks or polygons, with an interaction function.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A built-in function, such as grabcut_interaction, or one that a package has registered.
        function_parameters: Parameters of the function, such as float:0.3; a key as secret:NAME of a block.
        function_block: A block with a configured function, in place of the function here.
        labels: The names of the labels whose shapes are refined; empty for all.
        sources: Who made the shapes that are refined; empty for all.
        shape_types: Refine rectangles or points only; empty for both.
        to: What the shapes become.
        keep_originals: Add what is found, and remove nothing.
        tolerance: How far a polygon may be from the outline of its mask, in pixels.
        frames: Which frames and jobs, and which images of them.
        settings: Where the model runs, how much is done at a time, and what is kept.

    Returns:
        What was done.
    """
    chosen = choose_function(
        function_block,
        function,
        function_parameters,
        device=settings.device,
    )
    options = make_options(chosen, frames, settings)
    refining = RefineOptions(
        labels=labels or None,
        sources=sources or None,
        shape_types=shape_types or None,
        to=to,
        keep_originals=keep_originals,
        tolerance=tolerance,
    )
    return run_on_task(
        credentials,
        task_id,
        chosen,
        options,
        lambda client, loaded: RefineRun(
            client, task_id, loaded, options, refining, function_name=chosen.function
        ),
        kind=("refine", refining),
    )
