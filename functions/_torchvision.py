"""Common code of the functions with torchvision models."""

from __future__ import annotations

import abc
import contextlib
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, TypeAlias

import PIL.Image
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.ssd import SSD

from prefect_cvat import models
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionAnnotation,
    DetectionFunctionContext,
    DetectionFunctionSpec,
    label_spec,
)
from prefect_cvat.auto_annotation.functions._inference import choose_device, gather, memory_format
from prefect_cvat.auto_annotation.functions._model_function import Item, ModelFunction
from prefect_cvat.auto_annotation.functions._openvino import Runtime, choose_runtime
from prefect_cvat.auto_annotation.functions._openvino_conversion import with_openvino
from prefect_cvat.auto_annotation.functions._prepared_model import PreparedModel, Transforms
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.auto_annotation.functions._torch_threads import torch_on_one_thread
from prefect_cvat.auto_annotation.functions.nanodet_coco import NanoDet

__all__ = ["Found", "Input", "Output", "TorchvisionFunction"]

_HEADS = ("box_head", "box_predictor", "mask_head", "mask_predictor", "keypoint_head", "keypoint_predictor")

_PARTS: Mapping[Callable[..., object], Sequence[str]] = {
    GeneralizedRCNN.forward: ("backbone", "rpn.head", *(f"roi_heads.{head}" for head in _HEADS)),
    **{kind.forward: ("backbone", "head") for kind in (FCOS, SSD, RetinaNet)},
    NanoDet.forward: ("network",),
}
"""By what runs a detector, the parts of it that take the time; not every detector has each of them."""

Output: TypeAlias = dict[str, Tensor]
"""The output of a model for one image: tensors `[N, ...]` for N objects."""


@dataclass(frozen=True)
class Input:
    """A preprocessed image.

    Attributes:
        tensor: What the model gets: `[3, H, W]`.
        size: Width and height of the image in pixels.
    """

    tensor: Tensor
    size: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """By which to multiply x and y, if the transforms changed the size of the image."""
        return self.size[0] / self.tensor.shape[-1], self.size[1] / self.tensor.shape[-2]


@dataclass(frozen=True)
class Found:
    """What the model found on an image, on the CPU.

    Attributes:
        output: The output of the model.
        size: Width and height of the image in pixels.
        scale: See `Input`.
    """

    output: Output
    size: tuple[int, int]
    scale: tuple[float, float]


class TorchvisionFunction(ModelFunction):
    """Runs a model that is called like torchvision's, on tensors that transforms make of images.

    Args:
        prepared: The model.
        runtime: As for `choose_runtime`.
        device: As for `choose_device`.
        half_precision: Whether to compute with 16 bits where autocast of torch considers it safe.
        **settings: The others of `ModelFunction`.

    `version` does not depend on the runtime, as it does not depend on the device: OpenVINO finds the same
    objects, with boxes within a pixel and scores within 0.01. What was detected with one of them is not
    detected again with the other.
    """

    _label_type: ClassVar[str]
    _outputs: ClassVar[tuple[str, ...]] = ("boxes", "labels", "scores")
    """The required outputs for each image; they are copied to the CPU."""
    _optional_outputs: ClassVar[tuple[str, ...]] = ()
    """Optional outputs, copied to the CPU if the model returns them."""

    def __init__(
        self,
        prepared: PreparedModel,
        *,
        runtime: str = "auto",
        device: str,
        half_precision: bool,
        **settings: Any,
    ) -> None:
        self._runtime = choose_runtime(runtime, choose_device(device), half_precision=half_precision)
        super().__init__(prepared.model, device=device, half_precision=half_precision, **settings)
        # the outputs of a convolution have the layout of its weights
        self._loaded_model().to(memory_format=memory_format(self._device))
        self._classes = prepared.classes
        self._transforms = prepared.transforms
        self._takes_bytes = prepared.takes_bytes
        self._converted: nn.Module | None = None
        self._conversion = threading.Lock()

    @property
    def runtime(self) -> Runtime:
        """What runs the model: `torch`, or `openvino` unless it turns out that it cannot."""
        return self._runtime

    def close(self) -> None:
        """Let go of the model; the function cannot be used any more."""
        self._converted = None
        super().close()

    @cached_property
    def spec(self) -> DetectionFunctionSpec:
        """The labels; their ids are the model's class numbers."""
        return DetectionFunctionSpec(
            labels=[self._label(number, name) for number, name in self._classes.label_names()]
        )

    def _label(self, number: int, name: str) -> models.PatchedLabelRequest:
        return label_spec(name, number, type=self._label_type)

    def _settings(self) -> Sequence[object]:
        return (
            *super()._settings(),
            torchvision.__version__,
            _described(self._transforms),
            sorted(self._classes.names.items()),
        )

    def preprocess_image(self, context: DetectionFunctionContext, image: PIL.Image.Image) -> Input:  # noqa: ARG002
        """Make the tensor of an image of any mode; may be called in several threads at a time."""
        tensor = self._transforms(to_rgb(image))
        return Input(tensor.pin_memory() if self._device.type == "cuda" else tensor, image.size)

    def infer_batch(
        self,
        contexts: Sequence[DetectionFunctionContext],  # noqa: ARG002 - part of the interface
        inputs: Sequence[Input],
    ) -> list[Found]:
        """Run the model on inputs of any sizes.

        Raises:
            BadFunctionError: The model does not return what such a model should, or not even one image fits
                into the memory of the device.
            RuntimeError: The function is closed.
        """
        return self._in_batches(self._infer_together, inputs)

    def postprocess(self, context: DetectionFunctionContext, found: Found) -> list[DetectionAnnotation]:
        """Make annotations of what was found on an image."""
        return self._annotations(context, found.size, found.scale, found.output)

    def _detect_together(self, items: Sequence[Item]) -> list[list[DetectionAnnotation]]:
        inputs = [self.preprocess_image(context, image) for context, image in items]
        found = self._infer_together(inputs)
        return [self.postprocess(context, each) for (context, _), each in zip(items, found, strict=True)]

    @torch.inference_mode()
    def _infer_together(self, inputs: Sequence[Input]) -> list[Found]:
        model = self._model_of_runtime()
        on_threads = torch_on_one_thread() if self._runtime == "openvino" else contextlib.nullcontext()
        with self._autocast(), on_threads:
            tensors = [self._on_device(each.tensor) for each in inputs]
            outputs = self._run(model, tensors)
        for output in outputs:
            if missing := set(self._outputs) - set(output):
                raise BadFunctionError(
                    f"the model returns no {', '.join(sorted(missing))}; it returns {', '.join(output)}"
                )
        if self._device.type != "cpu":
            self._bring_to_cpu(outputs)
        return [Found(output, each.size, each.scale) for each, output in zip(inputs, outputs, strict=True)]

    def _on_device(self, tensor: Tensor) -> Tensor:
        """The tensor on the device; bytes become floats there, so that a quarter of them travels."""
        moved = tensor.to(self._device, non_blocking=True)
        return moved.float().div_(255) if self._takes_bytes else moved

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

    def _model_of_runtime(self) -> nn.Module:
        """The model, of which OpenVINO runs what it can. It is converted when it is first needed."""
        model = self._loaded_model()
        with self._conversion:
            if self._runtime == "openvino" and self._converted is None:
                # an image tells whether the transforms make tensors of one size
                with torch.inference_mode(False), torch.no_grad():
                    images = (PIL.Image.effect_noise(size, 64) for size in ((320, 224), (256, 352)))
                    one, other = (self._on_device(self._transforms(to_rgb(image))) for image in images)
                    self._converted = with_openvino(
                        model, self._parts(model), self._run, [[one], [other, other]]
                    )
                if self._converted is None:
                    self._runtime = "torch"
            return self._converted or model

    def _parts(self, model: nn.Module) -> Sequence[str]:
        """The names of the parts of a model that OpenVINO can run, and that take the time."""
        names = _PARTS.get(type(model).forward, ())
        existing = dict(model.named_modules())
        return [name for name in names if name in existing]

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
        threshold = self._threshold(context)
        scores = output["scores"].tolist()
        for index, (number, score) in enumerate(zip(output["labels"].tolist(), scores, strict=True)):
            label_id = self._classes.label_ids.get(int(number))
            if label_id is not None and score >= threshold:
                yield index, label_id, score


def _described(transforms: Transforms) -> str:
    if inspect.isfunction(transforms) and transforms.__closure__ is None:
        try:
            return inspect.getsource(transforms)
        except OSError:  # typed at a prompt
            pass
    return repr(transforms)
