"""What the built-in functions that run torchvision's models share."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import inspect
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar, TypeAlias

import PIL.Image
import torch
import torchvision
from torch import Tensor, nn

from prefect_cvat import models
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    label_spec,
)
from prefect_cvat.auto_annotation.functions._inference import (
    Batches,
    choose_device,
    gather,
    to_rgb,
)
from prefect_cvat.auto_annotation.functions._prepared_model import PreparedModel, Transforms

__all__ = ["Output", "TorchvisionFunction"]

Output: TypeAlias = dict[str, Tensor]
"""What a model found on one image: tensors whose first dimension counts the objects."""

_BATCH_SIZE_ON_ACCELERATOR = 8


class TorchvisionFunction(abc.ABC):
    """A detection function that runs a model in batches on a device.

    The model is taken over: it is moved to the device and put into evaluation mode.

    Args:
        prepared: The model.
        score_threshold: The least score, where the run sets none.
        device: As for `choose_device`.
        batch_size: The greatest number of images that the model gets at once. None: 8 on an
            accelerator, 1 on a CPU, where more seldom gain anything.
        half_precision: Whether the model computes in 16 bits where torch finds that safe (autocast).

    Raises:
        ValueError: `score_threshold` is not between 0 and 1, there is no such device, or
            `batch_size` is less than 1.
    """

    _label_type: ClassVar[str]
    _outputs: ClassVar[tuple[str, ...]] = ("boxes", "labels", "scores")
    """What the model must return for each image; it is brought to the CPU."""
    _optional_outputs: ClassVar[tuple[str, ...]] = ()
    """What is brought to the CPU if the model returns it."""

    def __init__(
        self,
        prepared: PreparedModel,
        *,
        score_threshold: float,
        device: str,
        batch_size: int | None,
        half_precision: bool,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise ValueError(f"score_threshold must be between 0 and 1, not {score_threshold}")
        self.score_threshold = score_threshold
        self._device = choose_device(device)
        if batch_size is None:
            batch_size = 1 if self._device.type == "cpu" else _BATCH_SIZE_ON_ACCELERATOR
        self._batches = Batches(batch_size)
        self._half_precision = half_precision
        self._classes = prepared.classes
        self._transforms = prepared.transforms
        self._model: nn.Module | None = prepared.model.to(self._device).eval()

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels; their ids are the model's class numbers."""
        return DetectionFunctionSpec(
            labels=[self._label(number, name) for number, name in self._classes.label_names()]
        )

    def _label(self, number: int, name: str) -> models.PatchedLabelRequest:
        return label_spec(name, number, type=self._label_type)

    @property
    def device(self) -> str:
        """Where the model runs, such as `cuda:0`."""
        return str(self._device)

    @property
    def batch_size(self) -> int:
        """The greatest number of images that the model gets at once; less once memory ran out."""
        return self._batches.size

    @cached_property
    def version(self) -> str:
        """A digest of all that decides what is found on an image: weights, settings, code."""
        described = [
            type(self).__qualname__,
            torch.__version__,
            torchvision.__version__,
            _described(self._transforms),
            repr(sorted(self._classes.names.items())),
            repr((self._half_precision, self._device.type)),
            *(repr(setting) for setting in self._settings()),
        ]
        digest = hashlib.sha256("\n".join(described).encode())
        for name, module in self._loaded_model().named_modules():
            digest.update(f"{name} {type(module).__qualname__} {_settings_of(module)}\n".encode())
        for name, tensor in self._loaded_model().state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def _settings(self) -> Sequence[object]:
        """What else decides about the results."""
        return (self.score_threshold,)

    def detect(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> list[DetectionAnnotation]:
        """Find the objects on an image of any mode."""
        return self.detect_batch([context], [image])[0]

    def detect_batch(
        self, contexts: Sequence[DetectionFunctionContext], images: Sequence[PIL.Image.Image]
    ) -> list[list[DetectionAnnotation]]:
        """Find the objects on images of any sizes and modes.

        Raises:
            BadFunctionError: The model does not return what such a model should.
            RuntimeError: The function is closed.
            torch.OutOfMemoryError: Not even one image fits into the memory of the device.
        """
        return self._batches.map(self._detect_together, list(zip(contexts, images, strict=True)))

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        self._model = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _detect_together(
        self, items: Sequence[tuple[DetectionFunctionContext, PIL.Image.Image]]
    ) -> list[list[DetectionAnnotation]]:
        tensors = [self._transforms(to_rgb(image)).to(self._device) for _, image in items]
        with torch.autocast(self._device.type) if self._half_precision else contextlib.nullcontext():
            outputs = self._run(self._loaded_model(), tensors)
        for output in outputs:
            if missing := set(self._outputs) - set(output):
                raise BadFunctionError(
                    f"the model returns no {', '.join(sorted(missing))}; it returns {', '.join(output)}"
                )
        if self._device.type != "cpu":
            self._bring_to_cpu(outputs)
        return [
            self._annotations(context, image.size, _scale(image, tensor), output)
            for (context, image), tensor, output in zip(items, tensors, outputs, strict=True)
        ]

    def _bring_to_cpu(self, outputs: Sequence[Output]) -> None:
        wanted = [
            (output, key)
            for output in outputs
            for key in (*self._outputs, *self._optional_outputs)
            if key in output
        ]
        on_cpu = gather([output[key] for output, key in wanted])
        for (output, key), tensor in zip(wanted, on_cpu, strict=True):
            output[key] = tensor

    def _run(self, model: nn.Module, tensors: list[Tensor]) -> Sequence[Output]:
        """Run the model on images; what it finds on each is in that tensor's pixels."""
        outputs: Sequence[Output] = model(tensors)
        return outputs

    @abc.abstractmethod
    def _annotations(
        self,
        context: DetectionFunctionContext,
        size: tuple[int, int],
        scale: tuple[float, float],
        output: Output,
    ) -> list[DetectionAnnotation]:
        """Make annotations of what was found on an image.

        Args:
            context: About the image.
            size: Of the image: width, height.
            scale: By which to multiply x and y, if the transforms changed the size of the image.
            output: What the model found.
        """

    def _found(self, context: DetectionFunctionContext, output: Output) -> Iterator[tuple[int, int, float]]:
        """Yield place in the output, label id and score of the objects to keep."""
        threshold = self.score_threshold if context.conf_threshold is None else context.conf_threshold
        scores = output["scores"].tolist()
        for index, (number, score) in enumerate(zip(output["labels"].tolist(), scores, strict=True)):
            label_id = self._classes.label_ids.get(int(number))
            if label_id is not None and score >= threshold:
                yield index, label_id, score

    def _loaded_model(self) -> nn.Module:
        if self._model is None:
            raise RuntimeError("the function is closed")
        return self._model


def _scale(image: PIL.Image.Image, tensor: Tensor) -> tuple[float, float]:
    return image.width / tensor.shape[-1], image.height / tensor.shape[-2]


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


def _described(transforms: Transforms) -> str:
    if inspect.isfunction(transforms) and transforms.__closure__ is None:
        try:
            return inspect.getsource(transforms)
        except OSError:  # typed at a prompt
            pass
    return repr(transforms)
