"""A Prefect server as people start it, and processes that use it. It takes minutes: `make e2e` runs it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from e2e import processes
from e2e.processes import PrefectServer, Process
from postgresql import postgresql
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.sandbox import Sandbox

LONGEST_TEST = 600
"""Seconds after which a test is ended. Prefect marks a run as crashed 150 s after its last heartbeat."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of this folder more time than others have."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(LONGEST_TEST))


StartProcess = Callable[..., Process]
WaitFor = Callable[..., Any]


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory) -> Iterator[PrefectServer]:
    """A Prefect server, which this process uses too; `make e2e DATABASE=postgresql` gives it PostgreSQL."""
    home = tmp_path_factory.mktemp("prefect-home")
    with ExitStack() as stack:
        with_postgresql = os.environ.get("DATABASE") == "postgresql"
        server = PrefectServer(home, stack.enter_context(postgresql()) if with_postgresql else None)
        stack.callback(server.kill)
        server.start()
        stack.enter_context(temporary_settings({PREFECT_API_URL: server.url}))
        yield server


@pytest.fixture(scope="session")
def credentials(prefect_api: PrefectServer, sandbox: Sandbox) -> CvatCredentials:
    """The block `main`, of the sandbox."""
    CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password)).save(
        "main", overwrite=True
    )
    return CvatCredentials.load("main")


@pytest.fixture
def start_process(prefect_api: PrefectServer, tmp_path: Path) -> Iterator[StartProcess]:
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
    return processes.wait_for


@pytest.fixture
def serve(start_process: StartProcess, wait_for: WaitFor, credentials: CvatCredentials) -> StartProcess:
    """Start `prefect-cvat serve` with some options, and wait until it serves."""

    def start(*options: str, **env: str) -> Process:
        process = start_process("prefect_cvat", "serve", *options, **env)
        wait_for(lambda: "being served" in process.text(), 120, "serving", process)
        return process

    return start
