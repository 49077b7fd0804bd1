"""A digest of a model: weights, layers and their settings, code."""

from __future__ import annotations

import contextlib
import inspect
import json
from typing import TYPE_CHECKING

import torch
from torch import nn

from prefect_cvat.inference.function_digest.bytecode import UnknownCodeError
from prefect_cvat.inference.function_digest.imported_code import ReachedCode

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["code_of_layers", "update_with_layers", "update_with_weights"]


def code_of_layers(model: nn.Module) -> list[str]:
    """The code of layers that come with no library of models, such as those of the user's own model.

    Raises:
        AttributeError: The code of a layer cannot be compared between runs.
    """
    reached = ReachedCode()
    try:
        for module in model.modules():
            reached.add_own(type(module).__module__)
    except UnknownCodeError as error:
        raise AttributeError(f"the model has a layer that reaches {error}") from error
    return reached.lines()


def update_with_layers(digest: _Hash, model: nn.Module) -> None:
    """Add the layers of a model, with their settings, to a digest."""
    for name, module in model.named_modules():
        digest.update(f"{name} {type(module).__qualname__} {_settings_of(module)}\n".encode())


def update_with_weights(digest: _Hash, model: nn.Module) -> None:
    """Add the weights of a model to a digest."""
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _settings_of(module: nn.Module) -> str:
    """Describe the settings of a module: plain values under the names of its constructor's parameters.

    Other attributes may be caches, which change with use.
    """
    settings = {}
    for parameter in inspect.signature(type(module)).parameters:
        for name in (parameter, f"_{parameter}"):
            if name in vars(module):
                with contextlib.suppress(TypeError, ValueError):
                    settings[name] = json.dumps(vars(module)[name])
    return str(settings)
