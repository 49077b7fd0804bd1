"""The automations that start a run for each new task: one for each project, known by what it matches."""

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
from prefect_cvat.deployments.prefect_yaml import TAG, credentials_reference
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.events.cvat_events import READY, server_slug

__all__ = [
    "NEW_TASKS",
    "annotate_new_tasks",
    "describe_changes",
    "describe_other",
    "find_automations",
    "is_of_same_tasks",
    "log_in_of",
    "project_of",
]

NEW_TASKS = "prefect-cvat: annotate new tasks"
"""The names of these automations begin so. Earlier versions made a single one, with exactly this name."""

PROJECT_LABEL = "cvat.project_id"

ORGANIZATION_LABEL = "cvat.organization"

PAGE = 200
"""Automations that are asked for at a time; the most that Prefect gives."""


def annotate_new_tasks(
    deployment_id: UUID, block: str, credentials: CvatCredentials, scope: Scope
) -> AutomationCore:
    """Make the automation for the new tasks of a project, or for all of a server or an organization.

    Args:
        deployment_id: What it starts.
        block: The name of the block that the runs log in to CVAT with.
        credentials: What is in it.
        scope: Whose new tasks.

    Raises:
        ValueError: All tasks of the personal workspace, or of an organization that there is not, are meant.
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
                    "credentials": credentials_reference(block),
                },
            )
        ],
    )


def _organization_id(credentials: CvatCredentials) -> int:
    slug = credentials.organization
    if not slug:
        raise ValueError(
            "events do not tell tasks of the personal workspace from others, so not all of its new tasks can"
            " be annotated; pass --project ID, or a log-in without --organization"
        )
    rule = json.dumps({"==": [{"var": "slug"}, slug]})
    with credentials.get_client() as client:
        found = client.json("GET", "/api/organizations", params={"filter": rule})["results"]
    if found:
        return int(found[0]["id"])
    raise ValueError(f"there is no organization {slug!r} at {credentials.url} that the user is in")


def find_automations(client: SyncPrefectClient) -> Iterator[Automation]:
    """The automations for new tasks that `setup` and `serve` have made, under whatever name they are."""
    offset = 0
    while page := client.read_automations(limit=PAGE, offset=offset):
        for automation in page:
            trigger = automation.trigger
            if TAG in automation.tags and isinstance(trigger, EventTrigger) and READY in trigger.expect:
                yield automation
        offset += len(page)


def _match(automation: AutomationCore) -> dict[str, list[str]]:
    """What an automation for new tasks is known by: the server, and the project or organization."""
    trigger = automation.trigger
    if not isinstance(trigger, EventTrigger) or not isinstance(trigger.match, ResourceSpecification):
        return {}
    return dict(trigger.match.items())


def log_in_of(automation: AutomationCore) -> dict[str, Any] | None:
    """The block that the runs of an automation for new tasks log in with, as the value of a parameter."""
    for action in automation.actions:
        if isinstance(action, RunDeployment):
            return (action.parameters or {}).get("credentials")
    return None


def project_of(automation: AutomationCore) -> int | None:
    """The project that an automation for new tasks is for; None for all."""
    projects = _match(automation).get(PROJECT_LABEL)
    return int(projects[0]) if projects else None


def describe_changes(before: Automation | None, wanted: AutomationCore) -> str:
    """What somebody would miss: another name, another log-in."""
    if before is None:
        return ""
    changes = "" if before.name == wanted.name else f"; its name was {before.name!r}"
    if log_in_of(before) != log_in_of(wanted):
        changes += f"; its runs logged in with {_block_of(log_in_of(before))}"
    return changes


def describe_other(other: Automation, deployment_id: UUID | None, wanted: AutomationCore | None) -> str:
    """What is to be known of an automation that is left as it is."""
    project = project_of(other)
    again = "--all-tasks" if project is None else f"--project {project}"
    remarks = []
    if other.name == NEW_TASKS:
        remarks.append(
            f"an earlier version has made it, {_scope_in_words(other)}; set up again with {again} and its"
            " log-in to rename it, or delete it in Prefect's pages"
        )
    starts = {action.deployment_id for action in other.actions if isinstance(action, RunDeployment)}
    if deployment_id is not None and deployment_id not in starts:
        remarks.append(f"it starts a deployment that is gone; set up again with {again} and its log-in")
    if wanted is not None and other.enabled and _overlap(other, wanted):
        of = wanted.name.partition(" of ")[2]
        remarks.append(f"new tasks of {of} start a run by it, too; switch one of the two off")
    return f": {'; '.join(remarks)}" if remarks else ""


def _scope_in_words(automation: Automation) -> str:
    project = project_of(automation)
    server = _match(automation).get("prefect.resource.id", ["?"])[0]
    of = "all projects" if project is None else f"project {project}"
    return f"for {of} of the server {server.removeprefix('cvat.task.').removesuffix('.*')}"


def is_of_same_tasks(one: AutomationCore, other: AutomationCore) -> bool:
    """Whether two automations are for the same server and project, or organization."""
    return _match(one) == _match(other)


def _overlap(one: AutomationCore, other: AutomationCore) -> bool:
    """Whether a task may be of both: on one server, and at least one of them not of a project alone."""
    first, second = _match(one), _match(other)
    return all(first[label] == second[label] for label in first.keys() & second.keys())


def _block_of(reference: dict[str, Any] | None) -> str:
    """The block that a parameter refers to."""
    return str(next(iter((reference or {}).get("$ref", {}).values()), "nothing"))
