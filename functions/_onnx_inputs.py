"""Images as inputs of ONNX models: size, layout, data type and range of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from prefect_cvat.auto_annotation.functions._onnx_session import TensorInfo
from prefect_cvat.exceptions import BadFunctionError

__all__ = ["ImageInput", "PlacedImage", "letterboxed", "stretched"]

_DTYPES = {"float": np.float32, "float16": np.float16, "uint8": np.uint8}

_IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
_IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

_PADDING = 114
"""The grey of the margins of a letterboxed image, as in Ultralytics."""


@dataclass(frozen=True)
class PlacedImage:
    """What a model gets of an image, and where the image is in it.

    Attributes:
        pixels: uint8 `[H, W, 3]`, RGB.
        scale: Pixels of the input per pixel of the image, in x and y.
        offset: The left upper corner of the image in the input: x, y.
        size: The width and height of the image.
    """

    pixels: NDArray[np.uint8]
    scale: tuple[float, float]
    offset: tuple[int, int]
    size: tuple[int, int]

    def in_image(self, boxes: NDArray[Any]) -> NDArray[np.float64]:
        """Convert boxes `[N, 4]` (left, top, right, bottom) from pixels of the input to pixels of the image.

        What is outside of the image is cut off.
        """
        placed = (boxes.astype(np.float64) - (*self.offset, *self.offset)) / (*self.scale, *self.scale)
        return placed.clip(0, (*self.size, *self.size))


@dataclass(frozen=True)
class ImageInput:
    """The input of a model.

    Attributes:
        name: Its name.
        dtype: float32, float16 or uint8.
        channels_last: Whether the layout is `[H, W, 3]`, and not `[3, H, W]`.
        has_batch: Whether the first dimension is that of the images of a batch.
        batch: The number of images in each batch; None for any number.
        height: In pixels; None for any height.
        width: In pixels; None for any width.
        mask: The name of an input that tells pixels of the image from padding, as DETR has it, or None.
    """

    name: str
    dtype: Any
    channels_last: bool
    has_batch: bool
    batch: int | None
    height: int | None
    width: int | None
    mask: str | None

    @classmethod
    def of(cls, inputs: Sequence[TensorInfo]) -> ImageInput:
        """Describe the input of a model.

        Raises:
            BadFunctionError: It is not one RGB image, or not a batch of such images.
        """
        images = [each for each in inputs if each.name != "pixel_mask"]
        mask = next((each.name for each in inputs if each.name == "pixel_mask"), None)
        shape = images[0].shape if images else ()
        size = shape[-3:]
        channels_last = len(size) == 3 and size[0] != 3 and size[2] == 3
        if (
            len(images) != 1
            or len(shape) not in (3, 4)
            or images[0].dtype not in _DTYPES
            or size[2 if channels_last else 0] not in (3, None)
        ):
            raise BadFunctionError(
                f"the model takes {'; '.join(map(str, inputs)) or 'nothing'}; it must take one RGB image"
                f" [3, H, W] or [H, W, 3], or a batch of images, as {', '.join(_DTYPES)}"
            )
        height, width = size[:2] if channels_last else size[1:]
        has_batch = len(shape) == 4
        return cls(
            name=images[0].name,
            dtype=_DTYPES[images[0].dtype],
            channels_last=channels_last,
            has_batch=has_batch,
            batch=shape[0] if has_batch else 1,
            height=height,
            width=width,
            mask=mask,
        )

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width; None if one of them may be any."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    def feed(self, images: Sequence[PlacedImage], *, imagenet: bool) -> dict[str, NDArray[Any]]:
        """The inputs for images of one size: at most `batch` of them, which is filled up with copies.

        Args:
            images: The images.
            imagenet: Whether floating-point values are normalised by the mean and standard deviation of
                ImageNet, and not from 0 to 1.
        """
        batch = np.stack([image.pixels for image in images])
        if self.batch is not None and len(batch) < self.batch:
            batch = np.concatenate([batch, batch[-1:].repeat(self.batch - len(batch), axis=0)])
        values: NDArray[Any] = batch
        if self.dtype is not np.uint8:
            values = batch.astype(np.float32) / 255
            if imagenet:
                values = (values - _IMAGENET_MEAN) / _IMAGENET_STD
        if not self.channels_last:
            values = values.transpose(0, 3, 1, 2)
        values = np.ascontiguousarray(values if self.has_batch else values[0], dtype=self.dtype)
        mask = {} if self.mask is None else {self.mask: np.ones(batch.shape[:3], dtype=np.int64)}
        return {self.name: values, **mask}


def stretched(image: PIL.Image.Image, size: tuple[int, int]) -> PlacedImage:
    """Resize an RGB image to a height and width, with antialiasing, as torchvision and transformers do."""
    height, width = size
    scale = width / image.width, height / image.height
    resized = image if scale == (1, 1) else image.resize((width, height), PIL.Image.Resampling.BILINEAR)
    return PlacedImage(np.asarray(resized), scale, (0, 0), image.size)


def letterboxed(image: PIL.Image.Image, size: tuple[int, int], *, stride: int | None) -> PlacedImage:
    """Fit an RGB image into a height and width, in the middle between grey margins, as Ultralytics does.

    Args:
        image: The image.
        size: Height and width, in pixels.
        stride: If given, margins are only as large as needed for height and width to be multiples of it.
    """
    gain = min(size[0] / image.height, size[1] / image.width)
    inner = max(1, round(image.height * gain)), max(1, round(image.width * gain))
    margins = [outer - each for outer, each in zip(size, inner, strict=True)]
    if stride is not None:
        margins = [margin % stride for margin in margins]
    top, left = (round(margin / 2 - 0.1) for margin in margins)
    pixels = np.full((inner[0] + margins[0], inner[1] + margins[1], 3), _PADDING, dtype=np.uint8)
    pixels[top : top + inner[0], left : left + inner[1]] = _resized(np.asarray(image), inner)
    return PlacedImage(pixels, (gain, gain), (left, top), image.size)


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize without antialiasing, as OpenCV does for Ultralytics. Pillow smooths what it shrinks."""
    values: NDArray[Any] = pixels
    for axis, length in enumerate(size):
        before = values.shape[axis]
        if length == before:
            continue
        places = ((np.arange(length) + 0.5) * (before / length) - 0.5).clip(0, before - 1)
        first = places.astype(np.int64)
        second = np.minimum(first + 1, before - 1)
        weights = (places - first).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        values = values.take(first, axis) * (1 - weights) + values.take(second, axis) * weights
    return values if values.dtype == np.uint8 else np.rint(values).astype(np.uint8)
