"""Image files that are not trusted: which formats are read, and how much memory they may take."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.settings import Settings

__all__ = ["IMAGE_FORMATS", "check_memory", "decode_pixels", "decoding_bytes", "open_image"]

IMAGE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"),
    *("AVIF", "JPEG2000", "PPM", "TGA"),
)
"""Pillow's names of the formats that are read: raster images that people upload to CVAT.

Pillow itself would open any file by its content, and some by starting a program: Ghostscript for EPS.
"""

_BYTES_PER_PIXEL = {"JPEG": 4, "PNG": 4, "BMP": 4, "PPM": 4, "TGA": 4, "WEBP": 16, "AVIF": 10, "JPEG2000": 20}
"""What decoding takes at its peak, with all that the libraries hold, measured with Pillow 12."""

_OF_OTHERS = 8
"""TIFF may hold all of an image in one strip, and GIF puts its frames together."""

_OF_PROGRESSIVE_JPEG = 10
"""libjpeg keeps the coefficients of three channels, two bytes each, until the last scan."""

_NEVER_TOO_MUCH = 2**22
"""What the setting cannot be below: it is not looked up for smaller images."""


def open_image(source: Path | IO[bytes], what: object) -> PIL.Image.Image:
    """Open an image without decoding it.

    Args:
        source: The file.
        what: Names it in errors.

    Raises:
        MediaError: It is not an image of a format that is read, or decoding it would take too much memory.
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
    try:
        check_memory(decoding_bytes(image), image.size, f"{what} ({image.format}, {image.mode})")
    except MediaError:
        image.close()
        raise
    return image


def decoding_bytes(image: PIL.Image.Image) -> int:
    """How many bytes of memory decoding an image takes at the most."""
    width, height = image.size
    per_pixel = _BYTES_PER_PIXEL.get(image.format or "BMP", _OF_OTHERS)
    if image.format == "JPEG" and image.info.get("progressive"):
        per_pixel = _OF_PROGRESSIVE_JPEG
    return per_pixel * width * height


def check_memory(needed: int, size: tuple[int, int], what: object) -> None:
    """Refuse an image that would take too much memory.

    Args:
        needed: How many bytes decoding it takes.
        size: Its width and height in pixels.
        what: Names it in the error.

    Raises:
        MediaError: It takes more than the setting allows.
    """
    if needed > _NEVER_TOO_MUCH and needed > (most := Settings().max_image_bytes):
        width, height = size
        raise MediaError(
            f"{what} has {width}x{height} pixels, which take up to {needed} bytes to decode; more than {most}"
            " are not taken: raise PREFECT_CVAT_MAX_IMAGE_BYTES where there is that much memory"
        )


def decode_pixels(image: PIL.Image.Image, what: object) -> None:
    """Decode the pixels of an image that was opened lazily.

    Raises:
        MediaError: The image is broken.
    """
    try:
        image.load()
    except Exception as error:  # as above
        raise MediaError(f"{what} is broken: {error}") from error
