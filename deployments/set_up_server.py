"""`prefect-cvat setup`: creates what the deployments need on the Prefect server and in CVAT.

It can be run again at any time, and changes only what differs.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence

from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import BlockSchema
from prefect.exceptions import ObjectNotFound
from prefect.workers.process import ProcessWorker
from pydantic import SecretStr

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.webhooks import register_webhook
from prefect_cvat.deployments.automations import set_up_automations
from prefect_cvat.deployments.block_references import name_blocks_by_id
from prefect_cvat.deployments.credentials_block import load_credentials, store_credentials
from prefect_cvat.deployments.prefect_server import check_server_version, prefect_server
from prefect_cvat.deployments.prefect_yaml import PREFECT_YAML, TAG
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.deployments.webhooks.webhook_secret import SECRET_BLOCK, load_webhook_secret
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.planning.task_search import check_project_is_visible
from prefect_cvat.settings import Settings
from prefect_cvat.tasks.prefect_limits import (
    DEFAULT_RUNS_PER_SERVER,
    device_limit,
    ensure_limit,
    server_limit,
)
from prefect_cvat.tasks.wait_for_device import local_devices

__all__ = ["set_up", "set_up_limits"]

WORK_POOLS = {ProcessWorker.type: "processes", "docker": "containers", "kubernetes": "Kubernetes jobs"}
"""The types of work pools that the deployments run in. Templates for the last two are in work_pools."""

LEASES_IN_MEMORY = "prefect.server.concurrency.lease_storage.memory"
LEASE_STORAGE = "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem"
"""The setting with which a Prefect 3.9 server keeps leases over a restart; by default it does not."""


def set_up(
    given: CvatCredentials | None,
    *,
    credentials: str = "main",
    runs_per_server: int | None = None,
    work_pool: str | None = "cvat",
    scope: Scope | None = None,
    webhook: str | None = None,
) -> Iterator[str]:
    """Create or update what the deployments need. After a failure, a second call completes it.

    Args:
        given: The credentials for CVAT to store in the block; None keeps the block.
        credentials: The name of the block.
        runs_per_server: The number of runs that may use the CVAT server at a time; None keeps it.
        work_pool: The name of the work pool; None creates none.
        scope: The project whose new tasks start runs, or all tasks; None keeps all automations for new
            tasks.
        webhook: The URL at which CVAT reaches `prefect-cvat webhooks`; None registers no webhook.

    Yields:
        A line for each object, with what was done.

    Raises:
        ValueError: There are no credentials; automations or schedules could not continue with them; a
            webhook has neither a project nor an organization; or the work pool has another type.
        ApiError: CVAT refused the credentials, the project, or the webhook.
        TransportError: The Prefect server, or CVAT, did not answer.
    """
    scope = scope or Scope()
    project_id = scope.project_id
    with prefect_server():
        yield from check_server_version()
        for block in (CvatCredentials, CvatFunction):
            yield f"block type {block.get_block_type_slug()} ({_register(block)})"
        is_stored = _is_stored(CvatCredentials, credentials)
        stored = load_credentials(credentials) if is_stored else None
        chosen = given or stored
        if chosen is None:
            raise ValueError(
                f"there is no block cvat-credentials/{credentials}, and no credentials are given;"
                " pass --server-host with --auth USER[:PASS] or --access-token"
            )
        if webhook is not None and project_id is None and chosen.organization is None:
            raise ValueError(
                "a webhook belongs to a project or an organization; pass --project ID, or --organization SLUG"
            )
        if project_id is not None:
            with chosen.get_client() as client:
                check_project_is_visible(client, project_id)
        yield f"block cvat-credentials/{credentials}: {store_credentials(credentials, given, stored)}"
        yield from set_up_limits(chosen.url, runs_per_server=runs_per_server)
        yield from _check_lease_storage()
        if work_pool is not None:
            yield f"work pool {work_pool!r} of {_ensure_work_pool(work_pool)}"
        yield from set_up_automations(credentials, chosen, scope)
        yield from _complete_forms()
        if webhook is not None:
            yield from _set_up_webhook(chosen, webhook, project_id)
        if work_pool is not None:
            yield f"the deployments for a work pool are in {PREFECT_YAML}"


def set_up_limits(
    url: str, *, runs_per_server: int | None = None, devices: Sequence[str] | None = None
) -> Iterator[str]:
    """Create the concurrency limits of a CVAT server and of the devices of this machine.

    Args:
        url: The URL of the CVAT server.
        runs_per_server: The number of runs that may use it at a time; None keeps it.
        devices: The devices of this machine, one run at a time on each; None for all accelerators.

    Yields:
        A line for each limit, with what was done.
    """
    name, limit = server_limit(url), runs_per_server or DEFAULT_RUNS_PER_SERVER
    done = ensure_limit(name, limit, overwrite=runs_per_server is not None)
    yield f"limit {name}: {_slots(name)} at a time ({done})"
    for device in local_devices() if devices is None else devices:
        name = device_limit(device)
        done = ensure_limit(name, 1)
        yield f"limit {name}: {_slots(name)} at a time ({done})"


def _check_lease_storage() -> Iterator[str]:
    """Warn if slots stay taken when the Prefect server is restarted."""
    with get_client(sync_client=True) as client:
        settings = client.request("GET", "/admin/settings").json()
    if settings["server"]["concurrency"]["lease_storage"] == LEASES_IN_MEMORY:
        yield (
            "the Prefect server keeps leases in memory: after a restart, slots of limits would stay taken;"
            f" start it with {LEASE_STORAGE}"
        )


def _slots(limit: str) -> int:
    with get_client(sync_client=True) as client:
        return client.read_global_concurrency_limit_by_name(limit).limit


def _register(block: type[Block]) -> str:
    """Register a type of block at the Prefect server, so that its UI shows the form."""
    before = _newest_schema(block)
    block.register_type_and_schema()
    after = _newest_schema(block)
    if before is None or after is None:
        return "created"
    return "unchanged" if before.id == after.id else "changed"


def _newest_schema(block: type[Block]) -> BlockSchema | None:
    with get_client(sync_client=True) as client:
        try:
            block_type = client.read_block_type_by_slug(block.get_block_type_slug())
        except ObjectNotFound:
            return None
        return client.get_most_recent_block_schema_for_block_type(block_type.id)


def _ensure_work_pool(name: str) -> str:
    with get_client(sync_client=True) as client:
        try:
            pool = client.read_work_pool(name)
        except ObjectNotFound:
            template = ProcessWorker.get_default_base_job_template()
            client.create_work_pool(
                WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
            )
            return "processes (created)"
    if pool.type not in WORK_POOLS:
        raise ValueError(
            f"there is a work pool {name!r} of type {pool.type!r}, which is none of {', '.join(WORK_POOLS)};"
            " choose another name with --work-pool, or pass --no-work-pool"
        )
    return f"{WORK_POOLS[pool.type]} (unchanged)"


def _complete_forms() -> Iterator[str]:
    """Update deployments that `prefect deploy` has created, so that their forms show their blocks."""
    with get_client(sync_client=True) as client:
        tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
        for deployment in client.read_deployments(deployment_filter=tagged):
            parameters = name_blocks_by_id(deployment.parameters)
            if parameters != deployment.parameters:
                client.update_deployment(deployment.id, DeploymentUpdate(parameters=parameters))
                yield f"deployment {deployment.name!r}: its form shows its blocks (changed)"


def _set_up_webhook(credentials: CvatCredentials, target_url: str, project_id: int | None) -> Iterator[str]:
    if Settings().webhook_secret is not None:
        yield "the secret of webhooks is taken from PREFECT_CVAT_WEBHOOK_SECRET"
    elif _is_stored(Secret, SECRET_BLOCK):
        yield f"block secret/{SECRET_BLOCK} (unchanged)"
    else:
        Secret(value=SecretStr(secrets.token_urlsafe(32))).save(SECRET_BLOCK)
        yield f"block secret/{SECRET_BLOCK} (created)"
    secret = load_webhook_secret()
    organization = credentials.organization if project_id is None else None
    with credentials.get_client() as client:
        done = register_webhook(client, target_url, secret, project_id=project_id, organization=organization)
    yield from done.lines()


def _is_stored(block: type[Block], name: str) -> bool:
    with get_client(sync_client=True) as client:
        try:
            client.read_block_document_by_name(name, block.get_block_type_slug())
        except ObjectNotFound:
            return False
    return True
