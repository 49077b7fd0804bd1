"""Starting and stopping the sandbox."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from cvat_sdk import make_client, models

from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_connection import connect


def test_restart_on_same_folder_keeps_all_data(tmp_path: Path, pictures: list[Path]) -> None:
    with Sandbox(tmp_path) as first, connect(first) as client:
        task = client.tasks.create_from_data(
            models.TaskWriteRequest(name="kept", labels=[{"name": "car"}]), pictures
        )
        task.set_annotations(
            models.LabeledDataRequest(
                shapes=[
                    models.LabeledShapeRequest(
                        type="rectangle",
                        frame=3,
                        label_id=task.get_labels()[0].id,
                        points=[1.5, 2.0, 3.0, 4.0],
                    )
                ]
            )
        )
    with Sandbox(tmp_path) as second, connect(second) as client:
        task = client.tasks.retrieve(task.id)
        assert task.name == "kept"
        assert [shape.points for shape in task.get_annotations().shapes] == [[1.5, 2.0, 3.0, 4.0]]
        assert task.get_frame(1, quality="original").read() == pictures[1].read_bytes()


def test_two_sandboxes_are_independent(pictures: list[Path]) -> None:
    with Sandbox() as one, Sandbox() as other:
        assert one.url != other.url
        with connect(one) as client:
            client.tasks.create(models.TaskWriteRequest(name="here", labels=[]))
        with connect(other) as client:
            assert client.tasks.list() == []


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "example.org", "::"])
def test_refuses_host_that_is_not_loopback(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        Sandbox(host=host)


def test_failed_start_names_cause_and_leaves_nothing_open(tmp_path: Path) -> None:
    with Sandbox() as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            Sandbox(tmp_path / "data", port=port).start()
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_command_serves_until_signal(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "prefect_cvat.sandbox",
            "--port",
            "0",
            "--data",
            str(tmp_path),
            "--user",
            "me",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:")
        with urllib.request.urlopen(f"{line.split()[1]}/api/server/about") as response:
            assert response.status == 200
        process.send_signal(number)
        _, complaints = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "NOT CVAT" in complaints
    assert "Traceback" not in complaints


def test_committed_writes_survive_killed_server(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_cvat.sandbox", "--port", "0", "--data", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        with make_client(url, credentials=("admin", "admin")) as client:
            client.tasks.create(models.TaskWriteRequest(name="written", labels=[]))
    finally:
        process.kill()
        process.communicate()
    with Sandbox(tmp_path) as again, connect(again) as client:
        assert [task.name for task in client.tasks.list()] == ["written"]


def test_command_refuses_host_that_is_not_loopback() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "prefect_cvat.sandbox", "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "loopback" in ended.stderr
