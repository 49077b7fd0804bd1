"""The flow that refines the shapes of one task."""

from __future__ import annotations

from typing import Annotated, Literal

from prefect import flow, get_run_logger
from pydantic import Field

from prefect_cvat.auto_annotation.loading import load_function, parse_parameters
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.models import SourceEnum
from prefect_cvat.options import Options
from prefect_cvat.pipeline import run_pipeline
from prefect_cvat.plan import Selection
from prefect_cvat.progress import LoggedProgress
from prefect_cvat.refine_run import RefineOptions, RefineRun
from prefect_cvat.report import RunReport
from prefect_cvat.tasks.limits import device_of, run_slots
from prefect_cvat.tasks.submitter import PrefectSubmitter

__all__ = ["refine_task"]


@flow(
    name="refine task",
    flow_run_name="refine task {task_id} with {function}",
    persist_result=False,
    retries=0,
)
def refine_task(
    task_id: Annotated[int, Field(ge=1)],
    credentials: CvatCredentials,
    function: str = "grabcut_interaction",
    function_parameters: dict[str, str] | None = None,
    labels: list[str] | None = None,
    sources: list[SourceEnum] | None = None,
    shape_types: list[Literal["rectangle", "points"]] | None = None,
    to: Literal["mask", "polygon"] = "mask",
    keep_originals: bool = False,
    tolerance: Annotated[float, Field(ge=0)] = 1.0,
    frames: list[int] | None = None,
    jobs: list[int] | None = None,
    quality: Literal["original", "compressed"] = "original",
    batch_size: Annotated[int, Field(ge=1)] | None = None,
    downloads: Annotated[int, Field(ge=1, le=16)] = 1,
) -> RunReport:
    """Turn rectangles and points of a CVAT task into masks or polygons, with an interaction function.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        function: A built-in function, such as grabcut_interaction, or one that a package has registered.
        function_parameters: Parameters of the function, each value as type:value, such as float:0.3.
        labels: The names of the labels whose shapes are refined; empty for all.
        sources: Who made the shapes that are refined; empty for all.
        shape_types: Refine rectangles or points only; empty for both.
        to: What the shapes become.
        keep_originals: Add what is found, and remove nothing.
        tolerance: How far a polygon may be from the outline of its mask, in pixels.
        frames: The numbers of the frames to look at; empty for all.
        jobs: The numbers of the jobs whose shapes are refined; empty for all.
        quality: Original, or compressed images as annotators see them, which are smaller to download.
        batch_size: How many frames a batch has at the most; empty adapts it to the function's speed.
        downloads: How many chunks are downloaded at a time.

    Returns:
        What was done.
    """
    logger = get_run_logger()
    options = Options(
        selection=Selection(frames=frames, jobs=jobs),
        quality=quality,
        batch_size=batch_size,
        downloads=downloads,
    )
    refining = RefineOptions(
        labels=labels or None,
        sources=sources or None,
        shape_types=shape_types or None,
        to=to,
        keep_originals=keep_originals,
        tolerance=tolerance,
    )
    loaded = load_function(function, parse_parameters(function_parameters or {}))
    with credentials.get_client() as client:
        run = RefineRun(client, task_id, loaded, options, refining, function_name=function)
        with run_slots(client.url, task_id, device_of(loaded)):
            report = run_pipeline(run, PrefectSubmitter(), LoggedProgress(logger.info))
    for line in report.lines():
        logger.info(line)
    return report
