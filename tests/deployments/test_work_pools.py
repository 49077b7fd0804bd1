"""The templates of work pools: Prefect takes them, and their workers make containers and jobs of them as they say."""

import asyncio
import json
from uuid import uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

from prefect_cvat.deployments.prefect_yaml import PREFECT_YAML
from prefect_cvat.deployments.set_up_server import WORK_POOLS, set_up

FOLDER = PREFECT_YAML.parent / "work_pools"
TEMPLATES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.json")}
ENV = yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["definitions"]["work_pool"]["job_variables"]
"""The job variables of the deployments."""

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own


def test_there_is_a_template_for_each_type_but_processes():
    assert set(TEMPLATES) == set(WORK_POOLS) - {"process"}


@pytest.mark.parametrize("kind", TEMPLATES)
def test_every_variable_is_used_and_explained(kind):
    template = TEMPLATES[kind]
    used = json.dumps(template["job_configuration"])
    for name, variable in template["variables"]["properties"].items():
        assert f"{{{{ {name} }}}}" in used, name
        assert variable["title"], name
        assert variable["description"].endswith("."), name
        assert "default" in variable, name


@pytest.mark.parametrize("kind", TEMPLATES)
def test_setup_takes_a_pool_that_was_made_of_the_template(kind, credentials, prefect_server):
    name = f"{kind}-{uuid4().hex[:6]}"
    with get_client(sync_client=True) as prefect:
        prefect.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=TEMPLATES[kind]))

    lines = list(set_up(credentials, credentials=f"block-{name}", work_pool=name))

    assert f"work pool {name!r} of {WORK_POOLS[kind]} (unchanged)" in lines


def _configuration(job_configuration, kind, **values):
    """What a worker of the pool makes of the values of a deployment."""
    return asyncio.run(job_configuration.from_template_and_values(TEMPLATES[kind], {**ENV, **values}))


def test_containers_get_the_gpus_of_the_machine():
    worker = pytest.importorskip("prefect_docker.worker", reason="prefect-docker is not installed")
    types = pytest.importorskip("docker.types")
    all_gpus = [{"count": -1, "capabilities": [["gpu"]]}]

    made = _configuration(worker.DockerWorkerJobConfiguration, "docker", gpus=all_gpus)

    assert made.image == "prefect-cvat:cpu"
    assert made.env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"
    assert made.volumes == ["prefect-cvat_annotations:/data"]
    assert made.container_create_kwargs["device_requests"] == all_gpus
    [request] = types.HostConfig(version="1.44", device_requests=all_gpus)["DeviceRequests"]
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])


def test_pods_get_a_gpu_and_run_without_root():
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="prefect-kubernetes is not installed")

    made = _configuration(worker.KubernetesWorkerJobConfiguration, "kubernetes", gpus=1)

    pod = made.job_manifest["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": 1}
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["volumes"] == [{"name": "data", "emptyDir": {}}]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["data"]
