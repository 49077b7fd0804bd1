"""Create the deployments as `prefect deploy` and `prefect-cvat serve` do, and read them from the server."""

import os
import subprocess
import sys

from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from prefect_cvat.deployments.block_references import credentials_reference
from prefect_cvat.deployments.nightly_schedule import NightlySchedule, set_up_schedule
from prefect_cvat.deployments.prefect_yaml import PREFECT_YAML, make_deployments
from prefect_cvat.deployments.scope import Scope

FIELDS = {
    "concurrency_options",
    "description",
    "enforce_parameter_schema",
    "entrypoint",
    "parameter_openapi_schema",
    "parameters",
    "path",
    "paused",
    "tags",
    "version",
}


def deploy(file=PREFECT_YAML, *which):
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--prefect-file", file, *which],
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def serve(*, scope=None, nightly=None, credentials="main", **options):
    """Create the deployments as `serve` does, without executing runs; return its output about schedules."""
    scope = scope or Scope()
    for deployment in make_deployments(credentials=credentials, scope=scope, **options):
        deployment.apply()
    return list(set_up_schedule(scope, nightly or NightlySchedule(), credentials_reference(credentials)))


def deployed():
    """The deployments as the API returns them, without ids, dates and where runs execute."""
    with get_client(sync_client=True) as prefect:
        flows = {flow.id: flow.name for flow in prefect.read_flows()}
        found = {}
        for deployment in prefect.read_deployments():
            said = deployment.model_dump(mode="json", include=FIELDS)
            said["limit"] = deployment.global_concurrency_limit.limit
            said["schedules"] = [
                schedule.model_dump(mode="json", include={"schedule", "active", "parameters", "slug"})
                for schedule in deployment.schedules
            ]
            found[f"{flows[deployment.flow_id]}/{deployment.name}"] = said
    return found


def delete_deployments():
    with get_client(sync_client=True) as prefect:
        for deployment in prefect.read_deployments():
            prefect.delete_deployment(deployment.id)


def read_deployment(name):
    with get_client(sync_client=True) as prefect:
        return prefect.read_deployment_by_name(name)
