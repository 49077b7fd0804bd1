"""Storing a log-in to CVAT in its block, without taking it away from what logs in with that block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.deployments.new_task_automations import find_automations, log_in_of, project_of
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_PROJECT, credentials_reference, name_blocks_by_id
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.exceptions import NotFoundError, OrganizationError, PermissionDeniedError
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.planning.task_search import check_project_is_visible

__all__ = ["store_credentials"]


def store_credentials(name: str, given: CvatCredentials | None, stored: CvatCredentials | None) -> str:
    """Store credentials that work, unless they are the ones that are there.

    Args:
        name: The name of the block.
        given: What it is to hold; None leaves it.
        stored: What it holds.

    Returns:
        Whose they are, and what was done.

    Raises:
        ValueError: The block is of another server, or automations and schedules that log in with it are for
            projects that these credentials do not see.
        ApiError: CVAT refused the log-in.
    """
    if given is None:
        assert stored is not None
        return f"{stored.url} (unchanged)"
    if stored is not None and server_identity(stored.url) != server_identity(given.url):
        raise ValueError(
            f"the block cvat-credentials/{name} is a log-in to {stored.url}, with which runs, automations and"
            f" schedules of that server go on; store that to {given.url} in one of its own with --credentials"
            " NAME, or change the URL of the block in Prefect's pages if it is the same server"
        )
    if stored is not None and given.verify_tls:
        given = given.model_copy(update={"ca_bundle": stored.ca_bundle})  # for which there is no option
    fields = set(CvatCredentials.model_fields)
    with given.get_client() as client:
        user = client.user().username
        if stored is not None and stored.model_dump(include=fields) == given.model_dump(include=fields):
            return f"{given.url} as {user} (unchanged)"
        if stored is not None:
            _check_users_of_block(name, client, user)
    given.save(name, overwrite=True)
    return f"{given.url} as {user} ({'created' if stored is None else 'changed'})"


def _check_users_of_block(name: str, client: Client, user: str) -> None:
    """Make sure that what logs in with a block still sees its projects with the new log-in."""
    with get_client(sync_client=True) as prefect:
        used = list(_projects_of_block(name, prefect))
    for what, project_id in used:
        try:
            check_project_is_visible(client, project_id)
        except NotFoundError:
            continue  # gone, whoever logs in
        except (PermissionDeniedError, OrganizationError) as error:
            raise ValueError(
                f"the {what} logs in with the block cvat-credentials/{name}, and {user} does not see its"
                f" project {project_id} ({error}); store this log-in in a block of its own with --credentials"
                " NAME"
            ) from None


def _projects_of_block(name: str, prefect: SyncPrefectClient) -> Iterator[tuple[str, int]]:
    """What goes on by itself with a block, and for which project."""
    by_name = credentials_reference(name)
    references = (by_name, name_blocks_by_id({"credentials": by_name})["credentials"])
    for automation in find_automations(prefect):
        project_id = project_of(automation)
        if project_id is not None and log_in_of(automation) in references:
            yield f"automation {automation.name!r}", project_id
    try:
        deployment = prefect.read_deployment_by_name(ANNOTATE_PROJECT)
    except ObjectNotFound:
        return
    for schedule in deployment.schedules:
        parameters: dict[str, Any] = {**deployment.parameters, **schedule.parameters}
        project_id = Scope.of_parameters(parameters).project_id
        if schedule.active and project_id is not None and parameters.get("credentials") in references:
            yield f"schedule {schedule.slug!r} of {ANNOTATE_PROJECT!r}", project_id
