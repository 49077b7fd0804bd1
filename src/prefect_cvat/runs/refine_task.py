"""Running an interaction function on the shapes of a task, from a script."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from prefect_cvat.auto_annotation.interface import InteractionFunction
from prefect_cvat.cvat.client import Client
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.selection import Selection
from prefect_cvat.runs.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.progress import progress_on
from prefect_cvat.runs.refine_run import RefineRun
from prefect_cvat.runs.report import RunReport

__all__ = ["refine_task"]


def refine_task(
    client: Client,
    task_id: int,
    function: InteractionFunction[Any],
    *,
    pbar: Any = None,
    labels: Collection[str] | None = None,
    sources: Collection[str] | None = None,
    shape_types: Collection[str] | None = None,
    to: Literal["mask", "polygon"] = "mask",
    keep_originals: bool = False,
    tolerance: float = 1.0,
    frames: Collection[int] | None = None,
    jobs: Collection[int] | None = None,
    quality: Literal["original", "compressed"] = "original",
    batch_size: int | None = None,
    downloads: int = 1,
) -> RunReport:
    """Turn rectangles and points of a task into masks or polygons, with an interaction function.

    What is found keeps label, attributes, group, order and occlusion of its original, and takes its place:
    the original is removed at the very end, and only if nobody has changed it since. It stays where nothing
    was found. Tracks are left alone, and so are frames that CVAT measures annotators by. Running it again
    after a failure completes what is missing.

    Args:
        client: The server, logged in.
        task_id: The task.
        function: An interaction function: an object or a module with `spec` and `detect`.
        pbar: Shows the progress: a tqdm bar, or a progress reporter as the CVAT SDK has them.
        labels: Names of the labels whose shapes are refined; None for all.
        sources: Who made the shapes that are refined: `manual`, `semi-auto`, `auto`, `file`, `consensus`;
            None for all. What is found is `auto` where its original is, else `semi-auto`.
        shape_types: `rectangle`, `points`; None for both.
        to: What they become, `mask` or `polygon`. A mask of several parts gives several polygons.
        keep_originals: Add what is found, and remove nothing.
        tolerance: How far a polygon may be from the outline of its mask, in pixels.
        frames: Relative numbers of the frames to look at; None for all.
        jobs: Ids of the annotation jobs whose shapes are refined; None for all.
        quality: `original`, or `compressed`: images as CVAT shows them to annotators, smaller to download
            (for videos only where the task was created with `use_zip_chunks`).
        batch_size: How many frames a batch has at the most (but at least a chunk, or 75 frames of a larger
            one); None adapts it.
        downloads: How many chunks are downloaded at a time.

    Returns:
        What was done; where there is nothing to refine, its `nothing_to_do` says so.

    Raises:
        BadFunctionError: The function does not fit the shapes or the task, or broke its contract. Nothing of
            the run is left on the server.
        PrefectCvatError: Something else failed.
        ValueError: An argument is out of its range, or the task has no such label.
    """
    options = Options(
        selection=Selection(frames=frames, jobs=jobs),
        quality=quality,
        batch_size=batch_size,
        downloads=downloads,
    )
    refining = RefineOptions(
        labels=labels,
        sources=sources,
        shape_types=shape_types,
        to=to,
        keep_originals=keep_originals,
        tolerance=tolerance,
    )
    run = RefineRun(client, task_id, function, options, refining)
    with ThreadSubmitter() as threads:
        return run_pipeline(run, threads, None if pbar is None else progress_on(pbar))
