"""What the outputs of exported detectors mean: torchvision, YOLO, DETR."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from prefect_cvat.auto_annotation.functions._onnx_inputs import (
    ImageInput,
    PlacedImage,
    letterboxed,
    stretched,
)
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.geometry.nms import non_maximum_suppression

__all__ = ["KNOWN_HEADS", "Detections", "DetrHead", "Head", "TorchvisionHead", "YoloHead", "is_end_to_end"]

KNOWN_HEADS = (
    "torchvision (boxes [N, 4], labels [N], scores [N]), YOLO (one output [B, 4 + classes, anchors]"
    " or [B, N, 6]), DETR (logits [B, queries, classes + 1], pred_boxes [B, queries, 4])"
)

_MAX_OBJECTS = 300
"""The maximum number of objects on an image after non-maximum suppression: the default of Ultralytics."""

_SHORTER_SIDE, _LONGER_SIDE = 800, 1333
"""Of images for a DETR that takes any size, in pixels: those of its evaluation."""


@dataclass(frozen=True)
class Detections:
    """What a model finds on an image, in pixels of the input.

    Attributes:
        boxes: `[N, 4]`: left, top, right, bottom.
        classes: Class numbers `[N]`.
        scores: `[N]`
    """

    boxes: NDArray[Any]
    classes: NDArray[Any]
    scores: NDArray[Any]

    def above(self, threshold: float) -> Detections:
        """Those with this score or more."""
        kept = self.scores >= threshold
        return Detections(self.boxes[kept], self.classes[kept], self.scores[kept])


class Head(abc.ABC):
    """What the outputs of a model mean, and what it expects of images.

    Attributes:
        outputs: The names of the outputs.
        class_count: The number of classes; None if the outputs do not tell.
    """

    score_threshold: ClassVar[float] = 0.5
    """By default."""
    imagenet: ClassVar[bool] = False
    """Whether values are normalised by the mean and standard deviation of ImageNet."""

    outputs: tuple[str, ...]
    class_count: int | None

    @abc.abstractmethod
    def place(self, image: PIL.Image.Image, model_input: ImageInput) -> PlacedImage:
        """Resize an RGB image for the input of the model."""

    @abc.abstractmethod
    def detections(
        self, outputs: Sequence[NDArray[Any]], index: int, image: PlacedImage, threshold: float
    ) -> Detections:
        """Read what was found on one image of a batch.

        Raises:
            BadFunctionError: The outputs have other shapes than expected.
        """


@dataclass(frozen=True)
class TorchvisionHead(Head):
    """Torchvision's detectors. They take one image, and resize it themselves."""

    outputs: tuple[str, ...]
    class_count: int | None = None

    def place(self, image: PIL.Image.Image, model_input: ImageInput) -> PlacedImage:
        """An image of any size stays as it is."""
        return stretched(image, (model_input.height or image.height, model_input.width or image.width))

    def detections(
        self,
        outputs: Sequence[NDArray[Any]],
        index: int,  # noqa: ARG002 - there is one image
        image: PlacedImage,  # noqa: ARG002 - boxes are in pixels
        threshold: float,
    ) -> Detections:
        """Of the only image."""
        boxes, classes, scores = outputs
        if boxes.shape != (len(scores), 4) or classes.shape != scores.shape:
            raise BadFunctionError(f"{_shapes(self.outputs, outputs)}; they must be [N, 4], [N] and [N]")
        return Detections(boxes, classes, scores).above(threshold)


@dataclass(frozen=True)
class YoloHead(Head):
    """YOLO as exported by Ultralytics, with or without non-maximum suppression in the model.

    Attributes:
        iou: For non-maximum suppression.
        image_size: Height and width for a model that takes images of any size.
        stride: Of the model; the sizes of images are multiples of it.
    """

    outputs: tuple[str, ...]
    class_count: int | None
    iou: float
    image_size: tuple[int, int]
    stride: int

    score_threshold = 0.25

    def place(self, image: PIL.Image.Image, model_input: ImageInput) -> PlacedImage:
        """Letterbox the image; a model that takes any size gets no more margins than needed."""
        height, width = self.image_size
        is_free = model_input.height is None and model_input.width is None
        size = model_input.height or height, model_input.width or width
        return letterboxed(image, size, stride=self.stride if is_free else None)

    def detections(
        self,
        outputs: Sequence[NDArray[Any]],
        index: int,
        image: PlacedImage,  # noqa: ARG002 - boxes are in pixels
        threshold: float,
    ) -> Detections:
        """Of `[B, N, 6]`, or of `[B, 4 + classes, anchors]` after non-maximum suppression."""
        is_final = is_end_to_end(outputs[0].shape[1:], self.class_count)
        if is_final is None:
            raise BadFunctionError(f"{_shapes(self.outputs, outputs)}; known are {KNOWN_HEADS}")
        rows = outputs[0][index]
        if is_final:
            rows = rows[rows[:, 4] > 0]  # the others fill up the N
            return Detections(rows[:, :4], rows[:, 5].astype(np.int64), rows[:, 4]).above(threshold)
        best = rows[4:].argmax(0)
        scores = rows[4:].max(0)
        likely = scores >= threshold
        center, half = rows[:2, likely].T, rows[2:4, likely].T / 2
        boxes = np.concatenate([center - half, center + half], axis=1)
        classes, scores = best[likely], scores[likely]
        kept = non_maximum_suppression(
            boxes.astype(np.float64), scores, classes, iou=self.iou, limit=_MAX_OBJECTS
        )
        return Detections(boxes[kept], classes[kept], scores[kept])


@dataclass(frozen=True)
class DetrHead(Head):
    """DETR: a softmax whose last class is that of no object, and boxes relative to the size of the image."""

    outputs: tuple[str, ...]
    class_count: int | None

    imagenet = True

    def place(self, image: PIL.Image.Image, model_input: ImageInput) -> PlacedImage:
        """Resize the image, by default to a shorter side of 800 pixels."""
        shorter, longer = sorted(image.size)
        gain = min(_SHORTER_SIDE / shorter, _LONGER_SIDE / longer)
        height = model_input.height or max(1, round(image.height * gain))
        return stretched(image, (height, model_input.width or max(1, round(image.width * gain))))

    def detections(
        self, outputs: Sequence[NDArray[Any]], index: int, image: PlacedImage, threshold: float
    ) -> Detections:
        """One for each query whose best class is above the threshold."""
        logits, boxes = (output[index].astype(np.float64) for output in outputs)
        if logits.ndim != 2 or boxes.shape != (len(logits), 4):
            raise BadFunctionError(f"{_shapes(self.outputs, outputs)}; known are {KNOWN_HEADS}")
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        scores = exponentials[:, :-1] / exponentials.sum(1, keepdims=True)
        height, width = image.pixels.shape[:2]
        center, half = boxes[:, :2], boxes[:, 2:] / 2
        corners = np.concatenate([center - half, center + half], axis=1) * (width, height, width, height)
        found = Detections(corners, scores.argmax(1), scores.max(1)).above(threshold)
        order = np.argsort(-found.scores, kind="stable")
        return Detections(found.boxes[order], found.classes[order], found.scores[order])


def is_end_to_end(shape: Sequence[int], class_count: int | None) -> bool | None:
    """Whether an output of YOLO, without the batch, has a row for each object.

    None if it is the output of another model.
    """
    if len(shape) != 2:
        return None
    rows, columns = shape
    if class_count is not None and rows == 4 + class_count and columns != 6:
        return False
    if columns == 6:
        return True
    return False if 4 < rows < columns else None


def _shapes(names: Sequence[str], outputs: Sequence[NDArray[Any]]) -> str:
    found = ", ".join(f"{name} {list(each.shape)}" for name, each in zip(names, outputs, strict=True))
    return f"the model returned {found}"
