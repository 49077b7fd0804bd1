"""Image files that are not trusted: which formats are read, and of how many pixels."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import PIL.Image

from prefect_cvat.exceptions import MediaError

__all__ = ["IMAGE_FORMATS", "MAX_FRAME_PIXELS", "decode_pixels", "open_image"]

IMAGE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"),
    *("AVIF", "JPEG2000", "PPM", "TGA"),
)
"""Pillow's names of the formats that are read: raster images that people upload to CVAT.

Pillow itself would open any file by its content, and some by starting a program: Ghostscript for EPS.
"""

MAX_FRAME_PIXELS = 200_000_000
"""The most pixels that a frame may have (one of 16K has 133 million)."""


def open_image(source: Path | IO[bytes], what: object) -> PIL.Image.Image:
    """Open an image without decoding it.

    Args:
        source: The file.
        what: Names it in errors.

    Raises:
        MediaError: It is not an image of a format that is read, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            # we bound the pixels ourselves; Pillow's own alarm is below our largest frames
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(source, formats=IMAGE_FORMATS)  # noqa: TID251 (this is the place)
    except Exception as error:  # what Pillow raises on broken headers depends on the format
        raise MediaError(
            f"{what} is not an image that can be opened (formats: {', '.join(IMAGE_FORMATS)}): {error}"
        ) from error
    width, height = image.size
    if width * height > MAX_FRAME_PIXELS:
        image.close()
        raise MediaError(f"{what} has {width}x{height} pixels; more than {MAX_FRAME_PIXELS} are not read")
    return image


def decode_pixels(image: PIL.Image.Image, what: object) -> None:
    """Decode the pixels of an image that was opened lazily.

    Raises:
        MediaError: The image is broken.
    """
    try:
        image.load()
    except Exception as error:  # as above
        raise MediaError(f"{what} is broken: {error}") from error
