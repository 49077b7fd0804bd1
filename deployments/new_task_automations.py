"""The automations that start a run for each new task: one for each project, or for all of a server.

An automation is identified by what its trigger matches (server, project or organization), not by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import RunDeployment
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.block_references import credentials_reference
from prefect_cvat.deployments.prefect_yaml import TAG
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.events.cvat_events import READY
from prefect_cvat.http.server_url import server_slug

__all__ = [
    "NEW_TASKS",
    "annotate_new_tasks",
    "credentials_of",
    "describe_changes",
    "describe_other",
    "find_automations",
    "is_of_same_tasks",
    "project_of",
]

NEW_TASKS = "prefect-cvat: annotate new tasks"
"""The prefix of the names. Earlier versions had one automation with exactly this name."""

PROJECT_LABEL = "cvat.project_id"

ORGANIZATION_LABEL = "cvat.organization"

PAGE = 200
"""The number of automations to read at a time; the maximum of Prefect."""


def annotate_new_tasks(
    deployment_id: UUID, block: str, credentials: CvatCredentials, scope: Scope
) -> AutomationCore:
    """The automation that starts a run for each new task of a project, an organization, or a server.

    Args:
        deployment_id: The deployment to start.
        block: The name of the block with the credentials for the runs.
        credentials: The credentials in that block.
        scope: A project, or all tasks.

    Raises:
        ValueError: The scope is all tasks of the personal workspace, or the organization does not exist.
    """
    match: dict[str, str | list[str]] = {"prefect.resource.id": f"cvat.task.{server_slug(credentials.url)}.*"}
    whose = f"of {scope}"
    if scope.project_id is not None:
        match[PROJECT_LABEL] = str(scope.project_id)
    elif credentials.organization is not None:
        match[ORGANIZATION_LABEL] = str(_organization_id(credentials))
        whose = f"of organization {credentials.organization}"
    else:
        whose = "of all projects"
    return AutomationCore(
        name=f"{NEW_TASKS} {whose} at {credentials.url.partition('://')[2]}",
        description="Starts a run for each task whose data are ready, as `prefect-cvat webhooks` reports it.",
        tags=[TAG],
        trigger=EventTrigger(expect={READY}, match=match, posture=Posture.Reactive, threshold=1),
        actions=[
            RunDeployment(
                source="selected",
                deployment_id=deployment_id,
                job_variables=None,
                parameters={
                    "task_id": "{{ event.payload.task_id }}",
                    "credentials": credentials_reference(block),
                },
            )
        ],
    )


def _organization_id(credentials: CvatCredentials) -> int:
    slug = credentials.organization
    if not slug:
        raise ValueError(
            "events do not tell which tasks are of the personal workspace, so not all of its new tasks can be"
            " annotated; pass --project ID, or credentials without --organization"
        )
    rule = json.dumps({"==": [{"var": "slug"}, slug]})
    with credentials.get_client() as client:
        found = client.json("GET", "/api/organizations", params={"filter": rule})["results"]
    if found:
        return int(found[0]["id"])
    raise ValueError(f"the user is in no organization {slug!r} at {credentials.url}")


def find_automations(client: SyncPrefectClient) -> Iterator[Automation]:
    """The automations for new tasks that `setup` and `serve` have created, also if they were renamed."""
    offset = 0
    while page := client.read_automations(limit=PAGE, offset=offset):
        for automation in page:
            trigger = automation.trigger
            if TAG in automation.tags and isinstance(trigger, EventTrigger) and READY in trigger.expect:
                yield automation
        offset += len(page)


def _match(automation: AutomationCore) -> dict[str, list[str]]:
    """The labels that the trigger matches: the server, and the project or organization."""
    trigger = automation.trigger
    if not isinstance(trigger, EventTrigger) or not isinstance(trigger.match, ResourceSpecification):
        return {}
    return dict(trigger.match.items())


def credentials_of(automation: AutomationCore) -> dict[str, Any] | None:
    """The reference to the block with the credentials of the runs of an automation."""
    for action in automation.actions:
        if isinstance(action, RunDeployment):
            return (action.parameters or {}).get("credentials")
    return None


def project_of(automation: AutomationCore) -> int | None:
    """The project of an automation; None for all tasks."""
    projects = _match(automation).get(PROJECT_LABEL)
    return int(projects[0]) if projects else None


def describe_changes(before: Automation | None, wanted: AutomationCore) -> str:
    """A changed name and changed credentials of an automation, as text."""
    if before is None:
        return ""
    changes = "" if before.name == wanted.name else f"; its name was {before.name!r}"
    if credentials_of(before) != credentials_of(wanted):
        changes += f"; its runs used the credentials {_block_of(credentials_of(before))}"
    return changes


def describe_other(other: Automation, deployment_id: UUID | None, wanted: AutomationCore | None) -> str:
    """Remarks on an automation that is not changed: outdated, without its deployment, or overlapping."""
    project = project_of(other)
    again = "--all-tasks" if project is None else f"--project {project}"
    remarks = []
    if other.name == NEW_TASKS:
        remarks.append(
            f"an earlier version has created it, {_describe_scope(other)}; run setup with {again} and its"
            " credentials to rename it, or delete it in Prefect's UI"
        )
    starts = {action.deployment_id for action in other.actions if isinstance(action, RunDeployment)}
    if deployment_id is not None and deployment_id not in starts:
        remarks.append(f"its deployment was deleted; run setup with {again} and its credentials")
    if wanted is not None and other.enabled and _overlap(other, wanted):
        of = wanted.name.partition(" of ")[2]
        remarks.append(f"it also starts runs on new tasks of {of}; disable one of the two")
    return f": {'; '.join(remarks)}" if remarks else ""


def _describe_scope(automation: Automation) -> str:
    project = project_of(automation)
    server = _match(automation).get("prefect.resource.id", ["?"])[0]
    of = "all projects" if project is None else f"project {project}"
    return f"for {of} of the server {server.removeprefix('cvat.task.').removesuffix('.*')}"


def is_of_same_tasks(one: AutomationCore, other: AutomationCore) -> bool:
    """Whether two automations match the same server, and the same project or organization."""
    return _match(one) == _match(other)


def _overlap(one: AutomationCore, other: AutomationCore) -> bool:
    """Whether a task may match both: the same server, and no label with different values."""
    first, second = _match(one), _match(other)
    return all(first[label] == second[label] for label in first.keys() & second.keys())


def _block_of(reference: dict[str, Any] | None) -> str:
    """The block of a reference, by name or id."""
    return str(next(iter((reference or {}).get("$ref", {}).values()), "nothing"))
