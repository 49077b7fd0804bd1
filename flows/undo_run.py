"""The flow that removes what an earlier run has added."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from pydantic import Field

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_keys import add_tags, task_tag
from prefect_cvat.flows.form_titles_and_choices import form
from prefect_cvat.options.titles import named_as_in_form
from prefect_cvat.records.record_reader import find_run, read_run
from prefect_cvat.rendering.run_report_markdown import escape
from prefect_cvat.tasks.artifacts import warn_if_refused
from prefect_cvat.tasks.prefect_limits import server_slot
from prefect_cvat.tasks.prefect_task_options import RETRY_NETWORK_ERRORS, shorten_errors
from prefect_cvat.tasks.wait_for_task import task_slots
from prefect_cvat.upload.undo_annotations import UndoReport
from prefect_cvat.upload.undo_annotations import undo_run as undo

__all__ = ["undo_run"]

RunId = Annotated[str, Field(pattern=r"^[\w-]{8,64}$")]
"""The id of a run, or its beginning. Not a path: a form must not name files of a worker."""


def _name_run() -> str:
    return f"undo run {flow_run.parameters['run'][:8]}"


@flow(name="undo run", flow_run_name=_name_run, persist_result=False, retries=0)
@form
def undo_run(run: RunId, credentials: CvatCredentials, dry_run: bool = False) -> UndoReport:
    """Remove what a run has added to a task of CVAT, except what somebody has changed since.

    Annotations that the run has replaced are not restored. Runs are recorded on the machine that executes
    them (`PREFECT_CVAT_RUNS_DIR`), so this flow must run on that machine, or the folder be on shared storage.

    Args:
        run: The id of the flow run, from its page or its report; at least the first eight characters.
        credentials: The block that says how to log in to CVAT.
        dry_run: Count the annotations and issues, but remove nothing.

    Returns:
        What was removed, and what stays.
    """
    logger = get_run_logger()
    with named_as_in_form(), credentials.get_client() as client:
        header = read_run(find_run(run)).header
        add_tags([task_tag(client.url, header.task_id)])
        with (
            task_slots(client.url, header.task_id, warn=logger.warning),
            server_slot(client.url, warn=logger.warning),
        ):
            done = remove_annotations(client, header.run, dry_run)
    for line in done.lines():
        logger.info(line)
    with warn_if_refused():
        text = "\n\n".join(map(escape, done.lines()))
        create_markdown_artifact(text, f"undo-task-{done.task_id}", escape(done.lines()[1]))
    return completed(done, done.lines()[1])


@task(name="remove annotations", **RETRY_NETWORK_ERRORS)
@shorten_errors
def remove_annotations(client: Client, run: str, dry_run: bool) -> UndoReport:
    """Remove the annotations and issues that a run has added; a retry removes the rest."""
    return undo(client, run, dry_run=dry_run)
