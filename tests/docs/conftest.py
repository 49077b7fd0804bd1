"""Weights for the pages that load torchvision models by name."""

import os
from pathlib import Path

import pytest
import torch
import torchvision.models

DOWNLOADED = ("fasterrcnn_resnet50_fpn_v2", "ssdlite320_mobilenet_v3_large")
"""The torchvision models that pages load by name."""


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
