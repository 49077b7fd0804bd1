"""`cvat-cli`, on the sandbox."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from prefect_cvat.sandbox import Sandbox

CvatCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cvat_cli(sandbox: Sandbox) -> CvatCli:
    """Run `cvat-cli` with these arguments, on the sandbox or another address."""

    def cvat_cli(*arguments: str | int, url: str | None = None) -> subprocess.CompletedProcess[str]:
        login = ["--server-host", url or sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]
        command = [sys.executable, "-m", "cvat_cli", *login, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)

    return cvat_cli
