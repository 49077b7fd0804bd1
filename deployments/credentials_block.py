"""Loads and stores the block with the credentials for CVAT.

A block is not overwritten if automations or schedules that use it would no longer see their projects.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.client import Client
from prefect_cvat.deployments.block_references import credentials_reference, name_blocks_by_id
from prefect_cvat.deployments.new_task_automations import credentials_of, find_automations, project_of
from prefect_cvat.deployments.prefect_server import prefect_server
from prefect_cvat.deployments.prefect_yaml import ANNOTATE_PROJECT
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.exceptions import NotFoundError, OrganizationError, PermissionDeniedError
from prefect_cvat.http.server_url import server_identity
from prefect_cvat.planning.task_search import check_project_is_visible

__all__ = ["load_credentials", "store_credentials"]


def load_credentials(name: str) -> CvatCredentials:
    """Load the block `cvat-credentials/NAME`.

    Raises:
        ValueError: The block does not exist, or PREFECT_API_URL is not set.
        TransportError: The Prefect server does not answer.
    """
    with prefect_server():
        try:
            credentials = CvatCredentials.load(name)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"there is no usable block cvat-credentials/{name} on the Prefect server ({reason}); create"
                " it with `prefect-cvat setup`, or name another one with --credentials"
            ) from None
    assert isinstance(credentials, CvatCredentials)  # not a coroutine, since this function is not async
    return credentials


def store_credentials(name: str, given: CvatCredentials | None, stored: CvatCredentials | None) -> str:
    """Check credentials by logging in, and store them in a block if they differ from the stored ones.

    Args:
        name: The name of the block.
        given: The credentials to store; None keeps the stored ones.
        stored: The credentials in the block; None if there is no block yet.

    Returns:
        Server, user, and what was done: `created`, `changed` or `unchanged`.

    Raises:
        ValueError: The block has credentials for another server, or automations or schedules that use it
            are for projects that the new user does not see.
        ApiError: CVAT refused the credentials.
    """
    if given is None:
        assert stored is not None
        return f"{stored.url} (unchanged)"
    if stored is not None and server_identity(stored.url) != server_identity(given.url):
        raise ValueError(
            f"the block cvat-credentials/{name} has the credentials for {stored.url}, which runs, automations"
            f" and schedules of that server use; store those for {given.url} in another block with"
            " --credentials NAME, or, if it is the same server, change the URL of the block in Prefect's UI"
        )
    if stored is not None and given.verify_tls:
        given = given.model_copy(update={"ca_bundle": stored.ca_bundle})  # `setup` has no option for it
    fields = set(CvatCredentials.model_fields)
    with given.get_client() as client:
        user = client.user().username
        if stored is not None and stored.model_dump(include=fields) == given.model_dump(include=fields):
            return f"{given.url} as {user} (unchanged)"
        if stored is not None:
            _check_projects_visible(name, client, user)
    given.save(name, overwrite=True)
    return f"{given.url} as {user} ({'created' if stored is None else 'changed'})"


def _check_projects_visible(name: str, client: Client, user: str) -> None:
    """Check that a new user sees the projects of the automations and schedules that use a block."""
    with get_client(sync_client=True) as prefect:
        used = list(_projects_of_block(name, prefect))
    for what, project_id in used:
        try:
            check_project_is_visible(client, project_id)
        except NotFoundError:
            continue  # the project was deleted
        except (PermissionDeniedError, OrganizationError) as error:
            raise ValueError(
                f"the {what} uses the block cvat-credentials/{name}, and {user} does not see its project"
                f" {project_id} ({error}); store these credentials in another block with --credentials NAME"
            ) from None


def _projects_of_block(name: str, prefect: SyncPrefectClient) -> Iterator[tuple[str, int]]:
    """The automations and active schedules that use a block, with their projects."""
    by_name = credentials_reference(name)
    references = (by_name, name_blocks_by_id({"credentials": by_name})["credentials"])
    for automation in find_automations(prefect):
        project_id = project_of(automation)
        if project_id is not None and credentials_of(automation) in references:
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
