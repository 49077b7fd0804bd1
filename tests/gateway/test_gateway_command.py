"""`prefect-cvat gateway` as a process: what it prints, SIGHUP, SIGTERM."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests

from cvat_calls import CvatCalls
from gateway_files import write_function
from polling import until


class Process:
    """A gateway in a process; `gateway.secret` and `gateway.url` are as of a `Gateway`."""

    def __init__(self, folder, *arguments, secret="a-secret-of-sixteen"):
        environment = {**os.environ, "PREFECT_CVAT_CACHE_DIR": str(folder / "cache"), "COLUMNS": "200"}
        environment.pop("PREFECT_CVAT_GATEWAY_SECRET", None)
        if secret:
            environment["PREFECT_CVAT_GATEWAY_SECRET"] = secret
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect_cvat", "gateway", "--port", "0", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self.printed = []
        for line in self.process.stdout:
            self.printed.append(line.rstrip())
            if line.startswith("ready "):
                break
        assert self.printed, self.log.read_text()
        if not secret:
            secret = re.search(r"NAMESPACE: (\w+)", "\n".join(self.printed))[1]
        self.headers = {"x-nuclio-function-namespace": secret}
        self.url = self.printed[-1].removeprefix("ready ")
        self.calls = CvatCalls(self, secret=secret)

    def wait_for(self, names, seconds=60):
        end = time.monotonic() + seconds
        while (found := sorted(self.calls.functions().json())) != names:
            assert time.monotonic() < end, (found, self.log.read_text())
            time.sleep(0.05)

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(30)


@pytest.fixture
def start(tmp_path):
    started = []

    def start(*arguments, **options):
        started.append(Process(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for process in started:
        process.process.kill()
        process.process.wait()
        process.process.stdout.close()


def test_gateway_from_start_to_end(start, tmp_path):
    gateway = start("--function", "grabcut_interaction", "--function-file", write_function(tmp_path, "mine"))
    gateway.wait_for(["grabcut_interaction", "mine"])
    assert gateway.calls.from_page("mine") == [{"label": "car", "type": "rectangle", "points": [1, 2, 3, 4]}]
    assert gateway.calls.from_page("grabcut_interaction", pos_points=[[20, 20]])["shapes"]
    assert "a-secret-of-sixteen" not in gateway.log.read_text() + "\n".join(gateway.printed)
    assert gateway.end() == 0
    assert (tmp_path / "mine.closed").exists()


def test_random_secret_is_printed_with_what_to_set(start, tmp_path):
    gateway = start("--function-file", write_function(tmp_path, "mine"), secret=None)
    gateway.wait_for(["mine"])
    printed = "\n".join(gateway.printed)
    port = gateway.url.rpartition(":")[2]
    for line in (f'CVAT_NUCLIO_PORT: "{port}"', "CVAT_NUCLIO_HOST", "CVAT_NUCLIO_INVOKE_METHOD: dashboard"):
        assert line in printed
    assert CvatCalls(gateway, secret="nuclio").functions().status_code == 403


def _refuses(calls):
    try:
        calls.functions()
    except requests.ConnectionError:
        return True
    return False


def test_calls_end_after_sigterm(start, tmp_path):
    gateway = start("--function-file", write_function(tmp_path, "mine", "time.sleep(3)"))
    gateway.wait_for(["mine"])
    gateway.calls.from_page("mine")
    results = []
    running = threading.Thread(target=lambda: results.append(gateway.calls.from_page("mine")))
    running.start()
    until(lambda: gateway.calls.in_progress() == 1)
    gateway.process.send_signal(signal.SIGTERM)
    until(lambda: _refuses(gateway.calls))
    running.join()
    assert len(results) == 1
    assert gateway.process.wait(10) == 0


def test_configuration_is_read_again_on_sighup(start, tmp_path):
    for name in ("one", "two"):
        write_function(tmp_path, name)
    file = tmp_path / "gateway.yaml"
    file.write_text("functions: [{function_file: one.py}]")
    gateway = start("--config", file)
    gateway.wait_for(["one"])
    file.write_text("functions: [{function_file: one.py}, {function_file: two.py, title: Second}]")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for(["one", "two"])
    file.write_text("functions: [{function_file: two.py, nme: x}]")
    gateway.process.send_signal(signal.SIGHUP)
    until(lambda: "stays as it was" in gateway.log.read_text())
    assert "there is no option 'nme'" in gateway.log.read_text()
    gateway.wait_for(["one", "two"])
    assert gateway.end(signal.SIGINT) == 0


def test_short_secret_is_refused():
    from command_line import run_command_text

    done = run_command_text("gateway", "--function", "tiled", PREFECT_CVAT_GATEWAY_SECRET="nuclio")
    assert done.returncode == 2
    assert "PREFECT_CVAT_GATEWAY_SECRET" in done.stderr
    assert "nuclio" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give --function, --function-module, --function-file or --config"),
        (("--function", "a", "--function", "a"), "several functions named 'a'"),
        (("--config", "none.yaml"), "'none.yaml' cannot be read"),
        (("--function", "a", "--port", "99999"), "99999 is not in the range"),
    ],
)
def test_wrong_usage(arguments, message):
    from command_line import run_command_text

    done = run_command_text("gateway", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
