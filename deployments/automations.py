"""The automations: a run for each new task, and an end for runs whose process has died."""

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


def set_up_automations(block: str, credentials: CvatCredentials, scope: Scope | None = None) -> Iterator[str]:
    """Make the automations, or bring them into line. Whether they are enabled is left as it is.

    There is one for new tasks for each server and project, and one for each server and organization whose
    tasks are all annotated. (A project belongs to one organization, whichever a log-in names.) Only that of
    the scope is changed; of the others it is said that they are there.

    Args:
        block: The name of the block that runs on new tasks log in to CVAT with.
        credentials: What is in it; tasks of other servers start nothing.
        scope: Whose new tasks are annotated; without one no automation for new tasks is made or changed.

    Yields:
        What was done, a line for each automation.

    Raises:
        ValueError: All tasks of the personal workspace, or of an organization that there is not, are meant.
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
            yield "automation for new tasks: none is made or changed without --project ID or --all-tasks"
        elif deployment_id is None:
            yield (
                f"automation for new tasks of {scope}: not made, since there is no deployment"
                f" {ANNOTATE_TASK!r} yet; start `prefect-cvat serve`, which makes both, or deploy"
                " prefect.yaml and set up again"
            )
        else:
            wanted = annotate_new_tasks(deployment_id, block, credentials, scope)
            same = [each for each in others if is_of_same_tasks(each, wanted)]
            before = min(same, key=lambda each: each.name != wanted.name, default=None)
            done = _ensure(client, wanted, before)
            yield f"automation {wanted.name!r} ({done}{describe_changes(before, wanted)})"
            others = [each for each in others if each is not before]
        for other in others:
            yield f"automation {other.name!r} (left as it is){describe_other(other, deployment_id, wanted)}"


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


def _ensure(
    client: SyncPrefectClient, wanted: AutomationCore, before: Automation | None
) -> Literal["created", "changed", "unchanged"]:
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
