"""The automations: a run for each new task, and an end for runs whose process has died."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from prefect_cvat.deployments.definitions import ANNOTATE_TASK, TAG, credentials_reference
from prefect_cvat.tasks.events import READY, server_slug

__all__ = ["CRASHED_RUNS", "HEARTBEAT_SECONDS", "NEW_TASKS", "set_up_automations"]

NEW_TASKS = "prefect-cvat: annotate new tasks"
"""The name of the automation that starts a run for each task that is ready."""

CRASHED_RUNS = "prefect-cvat: crashed runs"
"""The name of the automation that marks runs as crashed."""

HEARTBEAT_SECONDS = 30
"""How often a run says that it is alive. Prefect's own default is 180 s, and its least 30 s."""

CRASHED_AFTER_SECONDS = 3 * HEARTBEAT_SECONDS
"""How long nothing is heard of a run before it is taken for dead."""

CRASHED_MESSAGE = (
    f"Nothing was heard of this run for {CRASHED_AFTER_SECONDS} s: its process or its machine has died, or"
    " does not reach the Prefect server. What it had written is in CVAT. Run it again, from here or with the"
    " same parameters: it goes on where it was, and adds nothing twice."
)

ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Suspended")
"""Names of states after which a run sends no heartbeat, and is not dead."""

PROJECT_LABEL = "cvat.project_id"


def set_up_automations(credentials: str, url: str, project_id: int | None = None) -> Iterator[str]:
    """Make the automations, or bring them into line. Whether they are enabled is left as it is.

    Args:
        credentials: The name of the block that runs on new tasks log in to CVAT with.
        url: The CVAT server of that block; tasks of other servers start nothing.
        project_id: The project whose new tasks are annotated. None leaves the choice that was made before;
            if there was none, new tasks of all projects are.

    Yields:
        What was done, a line for each automation.
    """
    with get_client(sync_client=True) as client:
        yield f"automation {CRASHED_RUNS!r} ({_ensure_automation(client, _crashed_runs())})"
        try:
            deployment = client.read_deployment_by_name(ANNOTATE_TASK)
        except ObjectNotFound:
            yield (
                f"automation {NEW_TASKS!r}: not made, since there is no deployment {ANNOTATE_TASK!r} yet;"
                " start `prefect-cvat serve`, which makes both, or deploy prefect.yaml and set up again"
            )
            return
        if project_id is None and (before := _find_automation(client, NEW_TASKS)) is not None:
            project_id = _project_of(before)
        wanted = _annotate_new_tasks(deployment.id, credentials, url, project_id)
        whose = "all projects" if project_id is None else f"project {project_id}"
        yield f"automation {NEW_TASKS!r}: of {whose} at {url} ({_ensure_automation(client, wanted)})"


def _annotate_new_tasks(
    deployment_id: Any, credentials: str, url: str, project_id: int | None
) -> AutomationCore:
    match: dict[str, str | list[str]] = {"prefect.resource.id": f"cvat.task.{server_slug(url)}.*"}
    if project_id is not None:
        match[PROJECT_LABEL] = str(project_id)
    return AutomationCore(
        name=NEW_TASKS,
        description="Starts a run for each task whose data are ready, once `prefect-cvat webhooks` hears so.",
        tags=[TAG],
        trigger=EventTrigger(expect={READY}, match=match, posture=Posture.Reactive, threshold=1),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment_id,
                job_variables=None,
                parameters={
                    "task_id": "{{ event.payload.task_id }}",
                    "credentials": credentials_reference(credentials),
                },
            )
        ],
    )


def _crashed_runs() -> AutomationCore:
    return AutomationCore(
        name=CRASHED_RUNS,
        description="Marks a run as crashed when its heartbeat stops before it has ended.",
        tags=[TAG],
        # as https://docs.prefect.io/v3/advanced/detect-zombie-flows has it, but for what is expected: with
        # `prefect.flow-run.*` a run that dies while it is cancelled would stay Cancelling
        trigger=EventTrigger(
            # a run that dies in the moment in which it begins has sent no heartbeat yet
            after={"prefect.flow-run.Running", "prefect.flow-run.heartbeat"},
            expect={
                "prefect.flow-run.heartbeat",
                *(f"prefect.flow-run.{state}" for state in ENDS),
            },
            match={"prefect.resource.id": "prefect.flow-run.*"},
            # only runs of our deployments: others may have a slower heartbeat
            match_related={"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=CRASHED_AFTER_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(name=None, state=StateType.CRASHED, message=CRASHED_MESSAGE, force=False)
        ],
    )


def _ensure_automation(
    client: SyncPrefectClient, wanted: AutomationCore
) -> Literal["created", "changed", "unchanged"]:
    before = _find_automation(client, wanted.name)
    if before is None:
        client.create_automation(wanted)
        return "created"
    wanted = wanted.model_copy(update={"enabled": before.enabled})
    if AutomationCore.model_validate(before.model_dump()) == wanted:
        return "unchanged"
    # the client sends what was set by name, and Prefect 3.9 refuses an owner in an update
    whole = wanted.model_dump(exclude={"owner_resource"})
    client.update_automation(before.id, AutomationCore.model_validate(whole))
    return "changed"


def _find_automation(client: SyncPrefectClient, name: str) -> Automation | None:
    return next(iter(client.read_automations_by_name(name)), None)


def _project_of(automation: Automation) -> int | None:
    """The project that an automation for new tasks is restricted to."""
    trigger = automation.trigger
    if not isinstance(trigger, EventTrigger) or not isinstance(trigger.match, ResourceSpecification):
        return None
    projects = trigger.match.get(PROJECT_LABEL)
    return int(projects[0]) if projects else None
