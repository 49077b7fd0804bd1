"""The command `webhooks`."""

import os
import signal
import subprocess
import sys

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

from webhook_bodies import ready_body, resource_id, task_body


def command(*arguments, **environment):
    settings = {"PREFECT_API_URL": PREFECT_API_URL.value() or "", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "prefect_cvat", "webhooks", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", **settings},
    )


@pytest.fixture
def block(prefect_server, credentials):
    credentials.save("receiver-test", overwrite=True)
    return "receiver-test"


def test_command_serves_until_sigterm(block, sandbox, task_id, deliver, secret, events_of, tmp_path):
    Secret(value=secret.get_secret_value()).save("cvat-webhook", overwrite=True)
    with command("--credentials", block, PREFECT_CVAT_CACHE_DIR=str(tmp_path)) as process:
        try:
            ready = process.stdout.readline()
            assert ready.startswith("ready http://127.0.0.1:")

            class Receiver:
                url = ready.split()[1]

            assert deliver({"event": "ping", "webhook": {"id": 5}}, to=Receiver).status_code == 200
            assert deliver(ready_body(task_id), to=Receiver).status_code == 202
            assert deliver(task_body(task_id, sender=sandbox.user), to=Receiver).status_code == 204
            assert len(events_of(resource_id(sandbox, task_id), 1)) == 1
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "received the ping of webhook 5, with a valid signature" in err
    assert "cvat.task.ready" in err
    assert secret.get_secret_value() not in out + err


def test_command_without_secret_names_where_to_set_it(block):
    with get_client(sync_client=True) as prefect:
        for document in prefect.read_block_documents():
            if document.name == "cvat-webhook":
                prefect.delete_block_document(document.id)
    with command("--credentials", block) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out == ""
    assert "Traceback" not in err
    assert "PREFECT_CVAT_WEBHOOK_SECRET" in err
    assert "secret/cvat-webhook" in err
    assert "prefect-cvat setup --webhook" in err
