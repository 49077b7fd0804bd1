"""Common code of all functions with a model."""

from __future__ import annotations

import abc
import contextlib
import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import PIL.Image
import torch
from torch import Tensor, nn

from prefect_cvat.auto_annotation import DetectionAnnotation, DetectionFunctionContext, DetectionFunctionSpec
from prefect_cvat.auto_annotation.functions._batches import Batches
from prefect_cvat.auto_annotation.functions._device_memory import suggesting_the_cpu
from prefect_cvat.auto_annotation.functions._inference import choose_device
from prefect_cvat.auto_annotation.functions._model_digest import (
    code_of_layers,
    update_with_layers,
    update_with_weights,
)

__all__ = ["Item", "ModelFunction", "to_float32"]

Item: TypeAlias = tuple[DetectionFunctionContext, PIL.Image.Image]

Piece = TypeVar("Piece")
Result = TypeVar("Result")


class ModelFunction(abc.ABC):
    """A detection function that runs a model in batches on a device.

    The model is taken over: it is moved to the device and put into evaluation mode.

    Args:
        model: The model.
        score_threshold: Minimum score when the run sets no threshold.
        device: As for `choose_device`.
        batch_size: The greatest number of images that the model gets at once. None finds the fastest on
            an accelerator, see `BatchSizeSearch`; on a CPU it is `batch_size_on_cpu`.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        batch_size_on_cpu: By default 1: more seldom gain anything there.

    Raises:
        BadFunctionError: The model does not fit into the memory of the device.
        ValueError: `score_threshold` is not between 0 and 1, there is no such device, or
            `batch_size` is less than 1.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        score_threshold: float,
        device: str,
        batch_size: int | None,
        half_precision: bool,
        batch_size_on_cpu: int = 1,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold must be between 0 and 1, not {score_threshold}")
        self.score_threshold = score_threshold
        self._device = choose_device(device)
        if batch_size is None and self._device.type == "cpu":
            batch_size = batch_size_on_cpu
        self._batches = Batches(batch_size)
        self._half_precision = half_precision
        with suggesting_the_cpu(self._device, "the model"):
            self._model: nn.Module | None = model.to(self._device).eval()

    @property
    @abc.abstractmethod
    def spec(self) -> DetectionFunctionSpec:
        """The labels; their ids are the model's class numbers."""

    @property
    def device(self) -> str:
        """The device of the model, such as `cuda:0`."""
        return str(self._device)

    @property
    def batch_size(self) -> int:
        """The greatest number of images that the model gets at once now; it changes during a search."""
        return self._batches.size

    @cached_property
    def version(self) -> str:
        """A digest of all that decides what is found on an image: weights, settings, code.

        Not of the device: what one machine has found and kept, or has finished, others need not do again.

        Raises:
            AttributeError: The code of a layer cannot be compared between runs.
        """
        described = [
            type(self).__qualname__,
            repr(self._half_precision),
            *(repr(setting) for setting in self._settings()),
        ]
        digest = hashlib.sha256("\n".join(described).encode())
        model = self._loaded_model()
        update_with_layers(digest, model)
        for line in code_of_layers(model):
            digest.update(f"{line}\n".encode())
        update_with_weights(digest, model)
        return digest.hexdigest()[:16]

    def _settings(self) -> Sequence[object]:
        """Other settings that the results depend on."""
        return (self.score_threshold,)

    def detect(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> list[DetectionAnnotation]:
        """Find the objects on an image of any mode."""
        return self.detect_batch([context], [image])[0]

    def detect_batch(
        self, contexts: Sequence[DetectionFunctionContext], images: Sequence[PIL.Image.Image]
    ) -> list[list[DetectionAnnotation]]:
        """Find the objects on images of any sizes and modes.

        Raises:
            BadFunctionError: The model does not return what such a model should, or not even one image fits
                into the memory of the device.
            RuntimeError: The function is closed.
        """
        return self._in_batches(self._detect_together, list(zip(contexts, images, strict=True)))

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        self._model = None
        if self._device.type == "cuda":
            with contextlib.suppress(RuntimeError):  # of a device that has failed
                torch.cuda.empty_cache()

    @abc.abstractmethod
    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        """Find the objects on images that fit into memory together."""

    def _in_batches(
        self,
        step: Callable[[Sequence[Piece]], Sequence[Result]],
        pieces: Sequence[Piece],
        what: str = "an image",
    ) -> list[Result]:
        """Return the results of `step`, one for each piece, from batches that fit into memory.

        Args:
            step: Does the work of a batch.
            pieces: What the model gets.
            what: Names one of them.

        Raises:
            BadFunctionError: Not even one fits into the memory of the device.
        """
        with suggesting_the_cpu(self._device, what):
            return self._batches.map(step, pieces)

    def _threshold(self, context: DetectionFunctionContext) -> float:
        return self.score_threshold if context.conf_threshold is None else context.conf_threshold

    def _each_alike(
        self,
        step: Callable[[float, Sequence[Item]], Sequence[list[DetectionAnnotation]]],
        items: Sequence[Item],
    ) -> list[list[DetectionAnnotation]]:
        """Call `step` on the items of each threshold and image size; keep the order of the items.

        Images of several sizes would be padded to a common one, and then what is found on an image
        would depend on its neighbours.
        """
        alike: dict[object, list[int]] = {}
        for index, (context, image) in enumerate(items):
            alike.setdefault((self._threshold(context), image.size), []).append(index)
        found: list[list[DetectionAnnotation]] = [[] for _ in items]
        for places in alike.values():
            group = [items[index] for index in places]
            outcome = step(self._threshold(group[0][0]), group)
            for index, on_image in zip(places, outcome, strict=True):
                found[index] = on_image
        return found

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self._device.type) if self._half_precision else contextlib.nullcontext()

    def _loaded_model(self) -> nn.Module:
        if self._model is None:
            raise RuntimeError("the function is closed")
        return self._model


def to_float32(output: Any) -> Any:
    """Return what a model computed in 16 bits in 32, within tuples, lists and dicts."""
    if isinstance(output, Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return type(output)({key: to_float32(value) for key, value in output.items()})
    if isinstance(output, list | tuple):
        return type(output)([to_float32(each) for each in output])
    return output
