"""Calls functions with images. If a call fails on a broken image, the error names the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import PIL.Image

from prefect_cvat.auto_annotation.function_calls import call_function
from prefect_cvat.auto_annotation.interface import InteractionFunction, TrackingFunction
from prefect_cvat.frames import Frame
from prefect_cvat.media.untrusted_images import decode_pixels

__all__ = ["call_on_images", "preprocess_image"]

Result = TypeVar("Result")


def call_on_images(
    call: Callable[[], Result],
    method: object,
    where: str,
    failed: str,
    opened: Sequence[tuple[Frame, PIL.Image.Image]],
) -> Result:
    """Call a method of a function with images.

    Args:
        call: Calls the method.
        method: The method; errors name its file and line.
        where: The frames or the shape of the call, for errors.
        failed: The beginning of the error if the call fails.
        opened: The images that the method gets; they may not be decoded yet.

    Raises:
        BadFunctionError: The function failed.
        MediaError: It failed, and an image is broken.
    """

    def check_images() -> None:
        for frame, image in opened:
            decode_pixels(image, frame)

    return call_function(call, method, where, failed, check_images)


def preprocess_image(
    function: TrackingFunction[Any, Any] | InteractionFunction[Any],
    context: Any,
    frame: Frame,
    image: PIL.Image.Image,
) -> Any:
    """Call the optional `preprocess_image` of a function.

    Returns:
        Its result; the image itself if the function has no such method.

    Raises:
        BadFunctionError: The function failed.
        MediaError: It failed, and the image is broken.
    """
    method = getattr(function, "preprocess_image", None)
    if method is None:
        return image
    where = f"{frame}: preprocess_image"
    return call_on_images(lambda: method(context, image), method, where, f"{where} failed", [(frame, image)])
