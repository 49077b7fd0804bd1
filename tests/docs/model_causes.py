"""Causes of messages about models of transformers, for the tests of docs/troubleshooting.md."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from prefect_cvat import TaskLabel
from prefect_cvat.auto_annotation.function_for_task import make_function
from prefect_cvat.auto_annotation.loading import load_function


def _make(*names: str, **parameters: object) -> Any:
    function = load_function("open_vocabulary_detection", {"device": "cpu", **parameters})
    return make_function(function, [TaskLabel(name, "rectangle") for name in names])


def _saved(given: SimpleNamespace, family: str) -> str:
    pytest.importorskip("transformers")
    import tiny_word_models
    from tiny_detectors import model_and_processor

    folder = given.folder / family
    for part in model_and_processor(getattr(tiny_word_models, family)):
        part.save_pretrained(folder)
    return str(folder)


def model_that_is_nowhere(given: SimpleNamespace) -> None:
    pytest.importorskip("transformers")
    _make("car", model="google/owlv2-base-patch16", local_files_only=True)


def model_without_a_tokenizer(given: SimpleNamespace) -> None:
    from transformers import Owlv2ImageProcessor

    _make("car", model=_saved(given, "owlv2"), processor=Owlv2ImageProcessor())


def words_that_are_too_long(given: SimpleNamespace) -> None:
    _make("a label whose name is much too long for it", model=_saved(given, "owlv2"))


def words_of_another_language(given: SimpleNamespace) -> None:
    _make("дорога", model=_saved(given, "grounding_dino"))


def function_without_memory(given: SimpleNamespace) -> Any:
    """A function on a GPU that has no memory."""

    def without_memory(pixels: torch.Tensor) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    function = _make("person", model=_saved(given, "owlv2"))
    function._model.image_embedder = without_memory
    function._device = torch.device("cuda:0")
    return function
