"""Weights for the pages that load models by name: random ones, where a download would have put them."""

import os
from pathlib import Path

import pytest
import torch
import torchvision.models

WORD_MODEL = "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det"
"""The model of words that pages load: the default of `open_vocabulary_detection`."""

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


@pytest.fixture
def word_model_cache(tmp_path: Path) -> Path:
    """A cache of the Hugging Face Hub with a tiny model of words with random weights."""
    from tiny_word_models import mm_grounding_dino

    cache = tmp_path / "hub"
    repository = cache / f"models--{WORD_MODEL.replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123456789"
    torch.manual_seed(3)
    model_class, config, processor = mm_grounding_dino()
    model_class(config).save_pretrained(snapshot)
    processor.save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    return cache


@pytest.fixture
def downloaded_word_model(word_model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache of the Hugging Face Hub is one with a tiny model of words."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(word_model_cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
