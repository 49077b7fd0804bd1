"""From a new task in CVAT to its annotations: webhook, receiver, Prefect's events, automation, served run."""

import hashlib
import hmac
import io
import json
import time

import PIL.Image
import pytest
import requests
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from skimage import data

from ports import free_port
from prefect_cvat.cli.demo_run import coco_labels

pytestmark = pytest.mark.filterwarnings("default")  # Prefect's own

SETTLED_SECONDS = 6
"""How long to wait for runs that are not to start. The one that is to start does so within two."""


@pytest.fixture
def project(client):
    """A project with COCO's labels, a task in it, and a way to make another one from a photograph."""
    labels = [label.model_dump(mode="json", exclude_none=True) for label in coco_labels()]
    body = {"name": "new photographs", "labels": labels}
    project_id = client._transport.json("POST", "/api/projects", body=body)["id"]
    buffer = io.BytesIO()
    PIL.Image.fromarray(data.astronaut()).save(buffer, "PNG")

    def add() -> int:
        task = client.create_task("photograph", [], project_id=project_id)
        client.upload_images(task.id, {"astronaut.png": buffer.getvalue()})
        return task.id

    return project_id, add(), add


@pytest.fixture
def hooks(start_process, wait_for, credentials, project):
    """Set up as docs/operations.md says: the secret, the receiver, the webhook in CVAT. The receiver's URL."""
    url = f"http://127.0.0.1:{free_port()}"
    project_id, *_ = project
    setup = ("prefect_cvat", "setup", "--no-work-pool", "--project", str(project_id))
    first = start_process(*setup, "--webhook", f"{url}/webhooks")
    wait_for(lambda: first.returncode is not None, 120, "the setup")
    assert first.returncode == 0, first.text()
    receiver = start_process("prefect_cvat", "webhooks", "--port", url.rpartition(":")[2])
    wait_for(lambda: f"ready {url}" in receiver.text(), 60, "the receiver", receiver)
    second = start_process(*setup, "--webhook", f"{url}/webhooks")
    wait_for(lambda: second.returncode is not None, 120, "the second setup")
    assert second.returncode == 0, second.text()
    assert "unchanged" in second.text()
    return f"{url}/webhooks"


def runs_on(task_id):
    with get_client(sync_client=True) as prefect:
        return [run for run in prefect.read_flow_runs() if run.parameters.get("task_id") == task_id]


def test_new_task_starts_exactly_one_run(hooks, serve, project, client, wait_for):
    project_id, older_task_id, add_task = project
    served = serve("--project", str(project_id))

    task_id = add_task()
    wait_for(lambda: runs_on(task_id), 30, "a run", served)
    wait_for(lambda: runs_on(task_id)[0].state.is_final(), 180, "its end", served)
    assert runs_on(task_id)[0].state.is_completed(), served.text()
    names = {label.id: label.name for label in client.labels(task_id)}
    assert "person" in {names[shape["label_id"]] for shape in client.task_annotations(task_id).shapes}

    # our own writes have sent webhooks: job, task and project with a new updated_date
    [webhook] = client._transport.json("GET", "/api/webhooks")["results"]
    path = f"/api/webhooks/{webhook['id']}/deliveries"
    deliveries = client._transport.json("GET", path, params={"page_size": 100})["results"]
    told = [delivery["event"] for delivery in deliveries]
    assert {"update:task", "update:job"} <= set(told)
    ready = next(d for d in deliveries if d["event"] == "completed:request[create:task]")
    assert all(200 <= delivery["status_code"] < 300 for delivery in deliveries if delivery["event"] != "ping")
    # CVAT may send the same again
    client._transport.json("POST", f"{path}/{ready['id']}/redelivery")
    # a forged webhook for another task, created before the webhook
    forged = json.loads(json.dumps(ready["request"]))
    forged["request"]["operation"]["task_id"] = older_task_id
    body = json.dumps(forged).encode()
    for secret in ("guessed", ""):
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Signature-256": f"sha256={digest}"} if secret else {}
        assert requests.post(hooks, data=body, headers=headers, timeout=10).status_code == 401
    time.sleep(SETTLED_SECONDS)
    assert len(runs_on(task_id)) == 1
    assert runs_on(older_task_id) == []

    # the same body is accepted with a valid signature: only the signature was wrong
    secret = Secret.load("cvat-webhook").get()
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Signature-256": f"sha256={digest}"}
    assert requests.post(hooks, data=body, headers=headers, timeout=10).status_code == 202
    wait_for(lambda: runs_on(older_task_id), 30, "a run", served)
