"""CVAT's own tools, on the sandbox."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import cvat_sdk
import numpy as np
import PIL.Image
import pytest
from cvat_sdk.core.client import Config

from prefect_cvat.sandbox import Sandbox

CvatCli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cvat_cli(sandbox: Sandbox) -> CvatCli:
    """Run `cvat-cli` on the sandbox with these arguments."""

    def cvat_cli(*arguments: str | int) -> subprocess.CompletedProcess[str]:
        login = ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]
        command = [sys.executable, "-m", "cvat_cli", *login, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)

    return cvat_cli


@pytest.fixture(scope="session")
def sdk_client(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[cvat_sdk.Client]:
    config = Config(cache_dir=tmp_path_factory.mktemp("cache"), status_check_period=0.02)
    with cvat_sdk.Client(sandbox.url, config=config) as client:
        client.login((sandbox.user, sandbox.password))
        yield client


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
