"""Fixtures for running pages."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torchvision.models

from docs.shell import Shell

ROOT = Path(__file__).parents[2]
DOWNLOADED = ("fasterrcnn_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large")
"""The torchvision models that pages load by name."""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel of this project, and return its folder."""
    source = tmp_path_factory.mktemp("source")
    for name in ("src", "flows", "tasks", "deployments", "functions"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    folder = tmp_path_factory.mktemp("wheels")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    return folder


@pytest.fixture
def shell(tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in an empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "cache"))
    with Shell(tmp_path, wheels) as shell:
        yield shell


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns a free port."""

    def find() -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return free.getsockname()[1]

    return find


@pytest.fixture
def downloaded_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights in the download folder of torchvision."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(3)
    for name in DOWNLOADED:
        model = torchvision.models.get_model(name, weights=None, weights_backbone=None)
        url = torchvision.models.get_model_weights(name).DEFAULT.url
        torch.save(model.state_dict(), folder / os.path.basename(url))  # noqa: PTH119
