"""The flow that learns from what people have corrected in a task."""

from __future__ import annotations

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.flows.final_state import completed
from prefect_cvat.flows.flow_run_keys import add_tags, task_tag
from prefect_cvat.flows.form_titles_and_choices import form
from prefect_cvat.flows.function_choice import TaskId
from prefect_cvat.learning import LearnReport
from prefect_cvat.learning import learn_task as learn
from prefect_cvat.options.learn_options import LearnOptions
from prefect_cvat.options.titles import named_as_in_form
from prefect_cvat.rendering.run_report_markdown import escape
from prefect_cvat.tasks.artifacts import warn_if_refused
from prefect_cvat.tasks.prefect_limits import server_slot
from prefect_cvat.tasks.prefect_task_options import RETRY_NETWORK_ERRORS, shorten_errors

__all__ = ["learn_task"]


def _name_run() -> str:
    return f"learn from task {flow_run.parameters['task_id']}"


@flow(name="learn task", flow_run_name=_name_run, persist_result=False, retries=0)
@form
def learn_task(
    task_id: TaskId, credentials: CvatCredentials, corrections: LearnOptions = LearnOptions()
) -> LearnReport:
    """Learn from what people have corrected in a task of CVAT, for later runs in its project.

    Runs are recorded on the machine that executes them (`PREFECT_CVAT_RUNS_DIR`), and what is learned is kept
    there (`PREFECT_CVAT_LEARNED_DIR`), so this flow must run on that machine, or both folders be on shared
    storage. Nothing is written to CVAT.

    Args:
        task_id: The number of the task in CVAT.
        credentials: The block that says how to log in to CVAT.
        corrections: Which frames count as looked at.

    Returns:
        What was learned.
    """
    logger = get_run_logger()
    with named_as_in_form(), credentials.get_client() as client:
        add_tags([task_tag(client.url, task_id)])
        with server_slot(client.url, warn=logger.warning):
            done = read_corrections(client, task_id, corrections)
    for line in done.lines():
        logger.info(line)
    with warn_if_refused():
        text = "\n\n".join(map(escape, done.lines()))
        create_markdown_artifact(text, f"learned-task-{task_id}", escape(done.headline))
    return completed(done, done.headline)


@task(name="learn from corrections", **RETRY_NETWORK_ERRORS)
@shorten_errors
def read_corrections(client: Client, task_id: int, options: LearnOptions) -> LearnReport:
    """Learn from the corrections of a task; a retry replaces what was learned before."""
    return learn(client, task_id, looked_at=options.looked_at or ())
