"""Processes that tests start: any, and a Prefect server as people start it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from ports import free_port
from postgresql import PostgreSQL

Found = TypeVar("Found")


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


class PrefectServer:
    """`prefect server start`, with a home of its own. It can be stopped and started again.

    Args:
        home: Its folder, also of the processes that use it.
        database: The server of its database; None for a file in its home.

    Attributes:
        database: As given.
        url: The address of its API.
        ui_url: The address of its pages.
        env: The environment of processes that are to use it.
    """

    def __init__(self, home: Path, database: PostgreSQL | None = None) -> None:
        self.database = database
        self._port = free_port()
        self.ui_url = f"http://127.0.0.1:{self._port}"
        self.url = f"{self.ui_url}/api"
        self.env = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_LOGGING_LEVEL": "INFO",
            "COLUMNS": "200",
        }
        self._server_env = {
            **self.env,
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        }
        if database is not None:
            self._server_env["PREFECT_API_DATABASE_CONNECTION_URL"] = database.url
        self._log = home / "server.log"
        self._process: Process | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self._port))
        self._process = Process([sys.executable, "-m", *command], self._server_env, self._log)
        wait_for(lambda: answers(f"{self.url}/health"), 180, "the Prefect server", self._process)

    def kill(self) -> None:
        """Kill it, as when its machine loses power."""
        if self._process is not None:
            self._process.kill()


def wait_for(look: Callable[[], Found], seconds: float, what: str, process: Process | None = None) -> Found:
    """Wait until a function returns something true, and return that.

    Where a process is given with it, what that has written is shown if it ends or nothing comes of it.
    """
    deadline = time.monotonic() + seconds
    while not (found := look()):
        ended = process is not None and process.returncode is not None
        if ended or time.monotonic() > deadline:
            written = "" if process is None else f"\n{process.text()[-5000:]}"
            pytest.fail(f"waited for {what} for {seconds:.0f} s{written}")
        time.sleep(0.3)
    return found


def answers(url: str) -> bool:
    """Whether a server answers a request with success."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False
