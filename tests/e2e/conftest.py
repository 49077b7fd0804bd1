"""A Prefect server as people start it, and processes that use it. It takes minutes: `make e2e` runs it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.sandbox import Sandbox

Found = TypeVar("Found")

LONGEST_TEST = 600
"""Seconds after which a test is ended. Prefect marks a run as crashed 90 s after its last heartbeat."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder more time than others have."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(LONGEST_TEST))


@dataclass(frozen=True)
class PrefectApi:
    """A Prefect server.

    Attributes:
        url: Of its API.
        ui_url: Of its pages.
        env: The environment of processes that are to use it.
    """

    url: str
    ui_url: str
    env: dict[str, str]


class Process:
    """A process with its child processes and their output."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended; None while it has not."""
        return self._process.poll()

    def text(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")

    def children(self) -> list[int]:
        """Its child processes, recursively."""
        started: dict[int, list[int]] = {}
        for line in subprocess.check_output(["ps", "-eo", "pid=,ppid="], text=True).splitlines():
            pid, parent = map(int, line.split())
            started.setdefault(parent, []).append(pid)
        found, waiting = [], [self.pid]
        while waiting:
            below = started.get(waiting.pop(), [])
            found += below
            waiting += below
        return found

    def kill(self) -> None:
        """Kill it and its child processes immediately, as when a machine loses power."""
        if self.returncode is None:
            self._process.send_signal(signal.SIGSTOP)  # it is to start nothing more, and to report nothing
        for pid in [*self.children(), self.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()

    def stop(self, seconds: float = 30) -> int:
        """Ask it to end, and wait for that."""
        self._process.terminate()
        return self._process.wait(seconds)


StartProcess = Callable[..., Process]
WaitFor = Callable[..., Found]


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory) -> Iterator[PrefectApi]:
    """`prefect server start`, with a home of its own. This process uses it too."""
    home = tmp_path_factory.mktemp("prefect-home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui_url = f"http://127.0.0.1:{port}"
    env = {
        **os.environ,
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{ui_url}/api",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "COLUMNS": "200",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = Process(command, env, home / "server.log")
    try:
        _wait_for(lambda: _answers(f"{ui_url}/api/health"), 180, "the Prefect server", server)
        with temporary_settings({PREFECT_API_URL: env["PREFECT_API_URL"]}):
            yield PrefectApi(env["PREFECT_API_URL"], ui_url, env)
    finally:
        server.kill()


@pytest.fixture(scope="session")
def credentials(prefect_api: PrefectApi, sandbox: Sandbox) -> CvatCredentials:
    """The block `main`, of the sandbox."""
    CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)).save(
        "main", overwrite=True
    )
    return CvatCredentials.load("main")


@pytest.fixture
def start_process(prefect_api: PrefectApi, tmp_path: Path) -> Iterator[StartProcess]:
    """Start `python -m ...` with the Prefect server; kill the remaining processes after the test."""
    started: list[Process] = []

    def start(*arguments: str, **env: str) -> Process:
        log = tmp_path / f"process-{len(started)}.log"
        process = Process([sys.executable, "-m", *arguments], {**prefect_api.env, **env}, log)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def wait_for() -> WaitFor:
    """Wait until a function returns something true, and return that: `wait_for(look, seconds, "what")`.

    Where a process is given with it, what that has written is shown if it ends or nothing comes of it.
    """
    return _wait_for


@pytest.fixture
def serve(start_process: StartProcess, wait_for: WaitFor, credentials: CvatCredentials) -> StartProcess:
    """Start `prefect-cvat serve` with some options, and wait until it serves."""

    def start(*options: str, **env: str) -> Process:
        process = start_process("prefect_cvat", "serve", *options, **env)
        wait_for(lambda: "being served" in process.text(), 120, "serving", process)
        return process

    return start


def _wait_for(look: Callable[[], Found], seconds: float, what: str, process: Process | None = None) -> Found:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        ended = process is not None and process.returncode is not None
        if ended or time.monotonic() > deadline:
            written = "" if process is None else f"\n{process.text()[-5000:]}"
            pytest.fail(f"waited for {what} for {seconds:.0f} s{written}")
        time.sleep(0.3)
    return found


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False
