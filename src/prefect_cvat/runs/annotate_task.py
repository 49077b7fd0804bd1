"""Runs a detection function on a task."""

from __future__ import annotations

from typing import Any, Unpack

from prefect_cvat.auto_annotation.function_for_task import ForTask
from prefect_cvat.auto_annotation.interface import DetectionFunction
from prefect_cvat.cvat.sdk_client import AnyClient, own_client
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.options.keyword_types import AnnotateKeywords, documented
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.progress_bar import progress_on
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["annotate_task"]


@documented(AnnotateKeywords, Options)
def annotate_task(
    client: AnyClient,
    task_id: int,
    function: DetectionFunction | ForTask,
    *,
    pbar: Any = None,
    clear_existing: bool = False,
    **options: Unpack[AnnotateKeywords],
) -> RunReport:
    """Annotate a task with a detection function, in this process and without a Prefect server.

    Batches of frames are downloaded, processed and uploaded concurrently, so memory does not grow with the
    task. After a failure, run it again to complete it.

    Args:
        client: The server, logged in; a client of `cvat_sdk`, too.
        task_id: The id of the task.
        function: A detection function: an object or a module with `spec` and `detect`; or a factory with a
            parameter `task_labels`, which is called with the labels of the task.
        pbar: Shows the progress: a tqdm bar, or a progress reporter of the CVAT SDK.
        clear_existing: Replace existing annotations; short for `existing="clear"`.
        options: The options of a run, as `Options` defines them.

    Returns:
        The report of the run.

    Raises:
        BadFunctionError: The function does not fit the task or broke its contract. The annotations of the
            run are removed from the server.
        PrefectCvatError: Any other failure.
        ValueError: An argument is out of its range.
    """
    client = own_client(client)
    if clear_existing:
        if (existing := options.get("existing")) not in (None, Existing.CLEAR):
            raise ValueError(f"clear_existing=True contradicts existing={str(existing)!r}")
        options["existing"] = Existing.CLEAR
    run = AnnotateRun(client, task_id, function, Options.from_keywords(options))
    with ThreadSubmitter() as threads:
        return run_pipeline(run, threads, None if pbar is None else progress_on(pbar))
