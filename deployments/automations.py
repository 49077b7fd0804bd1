"""Creates the automations: one marks crashed runs, the others start runs for new tasks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Literal

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.new_task_automations import (
    annotate_new_tasks,
    describe_changes,
    describe_other,
    find_automations,
    is_of_same_tasks,
)
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_TASK, TAG
from prefect_cvat.deployments.scope import Scope

__all__ = [
    "CRASHED_RUNS",
    "HEARTBEAT_SECONDS",
    "set_up_automations",
]

CRASHED_RUNS = "prefect-cvat: crashed runs"
"""The name of the automation that marks runs as crashed."""

HEARTBEAT_SECONDS = 30
"""The interval of a run's heartbeats. Prefect's default is 180 s, its minimum 30 s."""

CRASHED_AFTER_SECONDS = 5 * HEARTBEAT_SECONDS
"""A run without a heartbeat for this time is marked as crashed.

A Prefect server that is without its database for a minute loses the heartbeats of that minute, so that up to
two minutes pass between two that it knows.
"""

CRASHED_MESSAGE = (
    f"This run has sent no heartbeat for {CRASHED_AFTER_SECONDS} s: its process or machine has died, or"
    " cannot reach the Prefect server. The annotations that it has written are in CVAT. Run it again, here or"
    " with the same parameters: it continues where it was, and adds nothing twice."
)

ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Suspended")
"""The names of states in which a run sends no heartbeats although it has not crashed."""


def set_up_automations(block: str, credentials: CvatCredentials, scope: Scope | None = None) -> Iterator[str]:
    """Create the automations, or update them. An automation that is disabled stays disabled.

    For new tasks there is one automation for each server and project, and one for each server and
    organization of which all tasks are annotated. Only the automation of the scope is created or changed.

    Args:
        block: The name of the block with the credentials for runs on new tasks.
        credentials: The credentials in that block; they define the server and organization.
        scope: The tasks whose creation starts a run; without a scope, automations for new tasks are kept.

    Yields:
        A line for each automation, with what was done.

    Raises:
        ValueError: The scope is all tasks of the personal workspace, or the organization does not exist.
    """
    scope = scope or Scope()
    with get_client(sync_client=True) as client:
        before = next(iter(client.read_automations_by_name(CRASHED_RUNS)), None)
        yield f"automation {CRASHED_RUNS!r} ({_ensure(client, _crashed_runs(), before)})"
        try:
            deployment_id = client.read_deployment_by_name(ANNOTATE_TASK).id
        except ObjectNotFound:
            deployment_id = None
        others = list(find_automations(client))
        wanted = None
        if not scope:
            yield "automation for new tasks: not created or changed without --project ID or --all-tasks"
        elif deployment_id is None:
            yield (
                f"automation for new tasks of {scope}: not created, since there is no deployment"
                f" {ANNOTATE_TASK!r} yet; start `prefect-cvat serve`, which creates both, or deploy"
                " prefect.yaml and run setup again"
            )
        else:
            wanted = annotate_new_tasks(deployment_id, block, credentials, scope)
            same = [each for each in others if is_of_same_tasks(each, wanted)]
            before = min(same, key=lambda each: each.name != wanted.name, default=None)
            done = _ensure(client, wanted, before)
            yield f"automation {wanted.name!r} ({done}{describe_changes(before, wanted)})"
            others = [each for each in others if each is not before]
        for other in others:
            yield f"automation {other.name!r} (not changed){describe_other(other, deployment_id, wanted)}"


def _crashed_runs() -> AutomationCore:
    return AutomationCore(
        name=CRASHED_RUNS,
        description="Marks a run as crashed when its heartbeats stop before it has ended.",
        tags=[TAG],
        # from https://docs.prefect.io/v3/advanced/detect-zombie-flows, but with the names of the states in
        # `expect`: with `prefect.flow-run.*` a run that dies while it is cancelled would stay Cancelling
        trigger=EventTrigger(
            # a run that dies right after its start has sent no heartbeat yet
            after={"prefect.flow-run.Running", "prefect.flow-run.heartbeat"},
            expect={
                "prefect.flow-run.heartbeat",
                *(f"prefect.flow-run.{state}" for state in ENDS),
            },
            match={"prefect.resource.id": "prefect.flow-run.*"},
            # only runs of these deployments: others may send heartbeats less often
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


def _ensure(
    client: SyncPrefectClient, wanted: AutomationCore, before: Automation | None
) -> Literal["created", "changed", "unchanged"]:
    if before is None:
        client.create_automation(wanted)
        return "created"
    wanted = wanted.model_copy(update={"enabled": before.enabled})
    if AutomationCore.model_validate(before.model_dump()) == wanted:
        return "unchanged"
    # the client sends only fields that are set; Prefect 3.9 refuses owner_resource in an update
    whole = wanted.model_dump(exclude={"owner_resource"})
    client.update_automation(before.id, AutomationCore.model_validate(whole))
    return "changed"
