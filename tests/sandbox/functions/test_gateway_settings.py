"""CVAT's settings for Nuclio, which the sandbox has, too."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from pictures import picture
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.sandbox import Nuclio, Sandbox
from sandbox.functions.stand_in_gateway import Answer, StandInGateway, record
from sandbox.sandbox_http import Http

CAR = {"label": "car", "type": "rectangle", "points": [1, 2, 10, 12]}
LIST = "/api/lambda/functions"


@pytest.fixture(autouse=True)
def functions(gateway: StandInGateway) -> None:
    gateway.clear()
    gateway.list_answer = None
    gateway.records = {"det": record("det", labels=[{"name": "car", "type": "any"}])}
    gateway.invoke = lambda number, asked: Answer([CAR])


@contextmanager
def sandbox_with(gateway: StandInGateway, **settings: Any) -> Iterator[tuple[Http, dict[str, Any]]]:
    """A sandbox with these settings, and the body of a call in it."""
    settings = {"port": gateway.port, **settings}
    with Sandbox(nuclio=Nuclio(**settings)) as server, Client(server.url) as client:
        client.login((server.user, server.password))
        task = client.create_task("a task", [label_spec("car", None)])
        client.upload_images(task.id, {"0.png": picture(32, 24)})
        yield Http(server), {"frame": 0, "task": task.id}


def test_time_limit_is_for_each_read(gateway):
    """Recorded calls 005, 032 and 033, with one second instead of four."""
    with sandbox_with(gateway, default_timeout=1) as (http, call):
        gateway.invoke = lambda number, asked: Answer([CAR], after=1.3)
        text = http.json("POST", f"{LIST}/det", call, status=504)
        assert (
            text
            == f"HTTPConnectionPool(host='127.0.0.1', port={gateway.port}): Read timed out. (read timeout=1)"
        )
        gateway.list_answer = Answer({}, after=1.3)
        assert http.json("GET", LIST, status=504) == text
        # blanks before the JSON keep it waiting
        gateway.invoke = lambda number, asked: Answer([CAR], blanks=15)
        assert len(http.json("POST", f"{LIST}/det", call)["shapes"]) == 1
    assert {asked.headers["X-Nuclio-Invoke-Timeout"] for asked in gateway.asked} == {"1s"}


def test_namespace_is_sent_with_each_call_and_not_shown(gateway):
    """Recorded calls 051."""
    with sandbox_with(gateway, function_namespace="a-shared-word") as (http, call):
        assert "a-shared-word" not in json.dumps(http.json("GET", LIST))
        http.json("POST", f"{LIST}/det", call)
    assert len(gateway.asked) == 3
    assert {asked.headers["x-nuclio-function-namespace"] for asked in gateway.asked} == {"a-shared-word"}
    assert "a-shared-word" not in repr(Nuclio(function_namespace=SecretStr("a-shared-word")))


def test_user_and_password_of_the_host_are_sent_and_shown_in_errors(gateway):
    """Recorded calls 051."""
    with sandbox_with(gateway, host="cvat:s3cret@127.0.0.1") as (http, _):
        http.json("GET", LIST)
        text = http.json("GET", f"{LIST}/x", status=404)
    assert text.endswith(f"for url: http://cvat:s3cret@127.0.0.1:{gateway.port}/api/functions/x")
    assert gateway.asked[0].headers["Authorization"].startswith("Basic ")


def test_direct_calls_go_to_the_port_of_the_function(gateway):
    """Recorded calls 050: without the headers of Nuclio."""
    with sandbox_with(gateway, invoke_method="direct") as (http, call):
        gateway.records["det"]["status"]["httpPort"] = gateway.port
        assert len(http.json("POST", f"{LIST}/det", call)["shapes"]) == 1
        [asked] = gateway.calls
        assert asked.path == "/"
        assert not [name for name in asked.headers if name.lower().startswith("x-nuclio")]
        del gateway.records["det"]["status"]["httpPort"]
        assert "Failed to parse: " in http.json("POST", f"{LIST}/det", call, status=500)


def test_without_a_gateway_the_answer_says_how_to_name_one(sandbox):
    http = Http(sandbox)
    for method, path in (("GET", LIST), ("GET", f"{LIST}/det")):
        assert "--nuclio-host" in http.json(method, path, status=503)
    assert http.json("GET", "/api/lambda/requests") == []


def test_nothing_listens(gateway):
    with sandbox_with(gateway, port=1) as (http, _):
        assert "Connection refused" in http.json("GET", LIST, status=503)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "user:password@example.com", ""])
def test_calls_no_other_machine(host):
    with pytest.raises(ValueError, match="on this machine only") as caught:
        Nuclio(host=host)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    "command", [("prefect_cvat", "sandbox"), ("prefect_cvat.sandbox",)], ids=["command", "module"]
)
def test_options_of_the_command_line(gateway, command):
    options = ["--nuclio-port", str(gateway.port), "--nuclio-default-timeout", "7"]
    environment = {**os.environ, "CVAT_NUCLIO_FUNCTION_NAMESPACE": "a-shared-word"}
    if len(command) == 1:
        options += ["--nuclio-function-namespace", "a-shared-word"]
    with subprocess.Popen(
        [sys.executable, "-m", *command, "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            with Client(line.split()[1]) as client:
                client.login(("admin", "admin"))
                [shown] = client.json("GET", LIST)
        finally:
            process.terminate()
    assert shown["id"] == "det"
    assert gateway.asked[0].headers["X-Nuclio-Invoke-Timeout"] == "7s"
    assert gateway.asked[0].headers["x-nuclio-function-namespace"] == "a-shared-word"


def test_wrong_options_name_the_option():
    done = subprocess.run(
        [sys.executable, "-m", "prefect_cvat.sandbox", "--nuclio-scheme", "ftp"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --nuclio-scheme: Input should be 'http' or 'https'\n"
