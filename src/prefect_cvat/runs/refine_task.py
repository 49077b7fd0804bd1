"""Runs an interaction function on the shapes of a task."""

from __future__ import annotations

from typing import Any, Unpack

from prefect_cvat.auto_annotation.interface import InteractionFunction
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.options.keyword_types import RefineKeywords, documented
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.progress_bar import progress_on
from prefect_cvat.runs.refine_run import RefineRun
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["refine_task"]


@documented(RefineKeywords, RefineOptions, Options)
def refine_task(
    client: AnyClient,
    task_id: int,
    function: InteractionFunction[Any],
    *,
    pbar: Any = None,
    **options: Unpack[RefineKeywords],
) -> RunReport:
    """Turn rectangles and points of a task into masks or polygons, with an interaction function.

    A result keeps the label, attributes, group, z-order and occlusion of its original. Its source is `auto`
    if that of the original is, otherwise `semi-auto`. Originals are removed at the end of the run, unless
    somebody has changed them or they have no result. Tracks, ground-truth frames and honeypots are not
    changed. After a failure, run it again to complete it.

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: The id of the task.
        function: An interaction function: an object or a module with `spec` and `detect`.
        pbar: Shows the progress: a tqdm bar, or a progress reporter of the CVAT SDK.
        options: The options of a run, as `RefineOptions` and `Options` define them.

    Returns:
        The report; `nothing_to_do` says why if there is nothing to refine.

    Raises:
        BadFunctionError: The function does not fit the shapes or the task, or broke its contract. The
            annotations of the run are removed from the server.
        PrefectCvatError: Any other failure.
        ValueError: An argument is out of its range, or the task lacks a named label.
    """
    client = own_client(client)
    run = RefineRun(
        client,
        task_id,
        function,
        Options.from_keywords(options),
        RefineOptions.from_keywords(options),
    )
    with ThreadSubmitter() as threads:
        return run_pipeline(run, threads, None if pbar is None else progress_on(pbar))
