"""Models by name or as objects, with what is needed to use them: transforms and class names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import PIL.Image
import torchvision.models
from torch import Tensor, nn
from torchvision.transforms._presets import ObjectDetection

from prefect_cvat.auto_annotation.functions._classes import NOT_AN_OBJECT, Classes
from prefect_cvat.auto_annotation.functions._inference import image_to_bytes, image_to_tensor

__all__ = ["PreparedModel", "Transforms", "prepare_model"]

Transforms: TypeAlias = Callable[[PIL.Image.Image], Tensor]
"""Makes the tensor that a model gets of an image."""


@dataclass(frozen=True)
class PreparedModel:
    """A model, and how to use it.

    Attributes:
        model: The model.
        transforms: Makes the tensor of an image.
        classes: Its classes.
        meta: What torchvision says about its weights; empty for a model that was passed as an object.
        takes_bytes: Whether the tensors are bytes, which the device divides by 255 for the model.
    """

    model: nn.Module
    transforms: Transforms
    classes: Classes
    meta: Mapping[str, Any] = field(default_factory=dict)
    takes_bytes: bool = False


def prepare_model(
    model_name: str | None,
    weights_name: str,
    *,
    model: nn.Module | None,
    transforms: Transforms | None,
    label_map: Mapping[int, str] | None,
    model_options: Mapping[str, Any],
    default_transforms: Transforms = image_to_tensor,
) -> PreparedModel:
    """Take a model as it is, or get one with its weights from torchvision by name.

    Raises:
        TypeError: Neither or both were given, or options that only a model by name takes.
        ValueError: Torchvision has no such model or weights, or it is not known what the classes are.
    """
    if (model_name is None) == (model is None):
        raise TypeError("give either model_name or model")
    names = None if label_map is None else {int(number): name for number, name in label_map.items()}
    if model is not None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
        if model_options:
            raise TypeError(f"only a model by name takes the options {', '.join(sorted(model_options))}")
        if names is None:
            raise ValueError('a model object needs label_map, which names its classes: {1: "person", ...}')
        return _prepared(model, transforms or default_transforms, Classes(names))
    if not isinstance(model_name, str):
        raise TypeError("model_name must be a string; pass a model object as model=...")
    weights_of_model = torchvision.models.get_model_weights(model_name)
    known = [*weights_of_model.__members__]
    if weights_name not in known:
        raise ValueError(f"{model_name} has no weights {weights_name!r}; it has {', '.join(known)}")
    weights = weights_of_model[weights_name]
    if names is None:
        names = {
            number: name
            for number, name in enumerate(weights.meta["categories"])
            if name not in NOT_AN_OBJECT
        }
    loaded = torchvision.models.get_model(model_name, weights=weights, **model_options)
    return _prepared(loaded, transforms or weights.transforms(), Classes(names), weights.meta)


def _prepared(
    model: nn.Module, transforms: Transforms, classes: Classes, meta: Mapping[str, Any] | None = None
) -> PreparedModel:
    """Where the transforms only make floats of bytes, leave that to the device."""
    takes_bytes = transforms is image_to_tensor or isinstance(transforms, ObjectDetection)
    transforms = image_to_bytes if takes_bytes else transforms
    return PreparedModel(model, transforms, classes, meta or {}, takes_bytes)
