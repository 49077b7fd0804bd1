"""Opening and decoding untrusted image files: the formats that are read, and the memory they may take."""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from pathlib import Path
from typing import IO

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.settings import current_settings

__all__ = [
    "IMAGE_FORMATS",
    "MIN_BYTES_PER_PIXEL",
    "check_memory",
    "decode_pixels",
    "decoding_bytes",
    "fits_in_memory",
    "max_opening_bytes",
    "open_image",
    "opening_bytes",
    "usable_cores",
]

IMAGE_FORMATS = (
    *("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"),
    *("AVIF", "JPEG2000", "PPM", "TGA"),
)
"""Pillow's names of the accepted formats: raster images that people upload to CVAT.

Pillow itself would open any file by its content, and some by starting a program: Ghostscript for EPS.
"""

_BYTES_PER_PIXEL = {"JPEG": 4, "PNG": 4, "BMP": 4, "PPM": 4, "TGA": 4, "WEBP": 16, "AVIF": 10, "JPEG2000": 20}
"""Peak memory of decoding in bytes per pixel, with what the libraries allocate; measured with Pillow 12."""

_BYTES_PER_PIXEL_OTHERS = 8
"""For other formats: TIFF may hold an image in one strip, and GIF composes its frames."""

_BYTES_PER_PIXEL_PROGRESSIVE = 10
"""libjpeg keeps the coefficients of three channels, two bytes each, until the last scan."""

MIN_BYTES_PER_PIXEL = 4
"""Bytes that Pillow stores for a pixel of RGB."""

_DECODED_AT_A_TIME = 2**20
"""Bytes of a file that Pillow reads at a time: between parts its decoder waits for other Python threads."""

_MIN_LIMIT = 2**22
"""The minimum of the setting in bytes: for smaller images it need not be read."""


def usable_cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_image(
    source: Path | IO[bytes], what: object, *, to_decode: bool = True, max_bytes: int | None = None
) -> PIL.Image.Image:
    """Open an image without decoding it.

    Args:
        source: The file.
        what: Its name in errors.
        to_decode: Whether its pixels will be decoded; otherwise it may be of any size.
        max_bytes: See `check_memory`.

    Raises:
        MediaError: It is not an image of a format that is read, or it would take too much memory.
    """
    try:
        check_memory(what, file_bytes=_opening_bytes_of(source), max_bytes=max_bytes)
        with warnings.catch_warnings():
            # memory is limited below; Pillow warns about images below that limit
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(source, formats=IMAGE_FORMATS)  # noqa: TID251 (this is the place)
            image.decodermaxblock = _DECODED_AT_A_TIME
    except MediaError:
        raise
    except Exception as error:  # the type of the error depends on the format
        raise MediaError(
            f"{what} is not an image that can be opened (formats: {', '.join(IMAGE_FORMATS)}): {error}"
        ) from error
    if to_decode:
        try:
            check_memory(
                f"{what} ({image.format}, {image.mode})",
                image.size,
                decoding_bytes(image),
                max_bytes=max_bytes,
            )
        except MediaError:
            image.close()
            raise
    return image


def opening_bytes(begin: bytes, size: int) -> int:
    """Bytes of memory that opening an image file takes, before anything is decoded.

    Pillow 12 reads a WEBP or AVIF file whole, and its library copies it; of other files it reads the header.

    Args:
        begin: The first 12 bytes of the file.
        size: The size of the file in bytes.
    """
    is_read_whole = begin[8:12] == b"WEBP" or begin[4:8] == b"ftyp"
    return max_opening_bytes(size) if is_read_whole else 0


def max_opening_bytes(size: int) -> int:
    """`opening_bytes` of a file of any format, at most."""
    return 2 * size


def _opening_bytes_of(source: Path | IO[bytes]) -> int:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _opening_bytes_of(file)
    begin = source.read(12)
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return opening_bytes(begin, size)


def decoding_bytes(image: PIL.Image.Image) -> int:
    """Upper bound of the memory in bytes that decoding an image takes."""
    width, height = image.size
    per_pixel = _BYTES_PER_PIXEL.get(image.format or "BMP", _BYTES_PER_PIXEL_OTHERS)
    if image.format == "JPEG" and image.info.get("progressive"):
        per_pixel = _BYTES_PER_PIXEL_PROGRESSIVE
    return per_pixel * width * height


def check_memory(
    what: object,
    size: tuple[int, int] | None = None,
    pixel_bytes: int = 0,
    file_bytes: int = 0,
    *,
    max_bytes: int | None = None,
) -> None:
    """Refuse an image that would take too much memory.

    Args:
        what: Its name in the error.
        size: Its width and height in pixels, if known.
        pixel_bytes: Bytes of memory that decoding takes.
        file_bytes: Bytes of memory that its file takes.
        max_bytes: Maximum of both together; None takes the setting.

    Raises:
        MediaError: It takes more.
    """
    needed = pixel_bytes + file_bytes
    if not fits_in_memory(needed, max_bytes):
        pixels = "" if size is None else f" of {size[0]}x{size[1]} pixels"
        raise MediaError(
            f"{what}{pixels} takes up to {needed} bytes of memory ({file_bytes} of them for its file); more"
            f" than {_limit(max_bytes)} are refused: raise PREFECT_CVAT_MAX_IMAGE_BYTES if there is that"
            " much memory"
        )


def fits_in_memory(needed: int, max_bytes: int | None = None) -> bool:
    """Whether an image may take so many bytes of memory.

    Args:
        needed: The bytes.
        max_bytes: The maximum; None takes the setting.
    """
    return needed <= _MIN_LIMIT or needed <= _limit(max_bytes)


def _limit(max_bytes: int | None) -> int:
    return _max_bytes(os.environ.get("PREFECT_CVAT_MAX_IMAGE_BYTES")) if max_bytes is None else max_bytes


@lru_cache
def _max_bytes(_variable: str | None) -> int:
    """The setting, cached by the value of its variable: reading settings is slower than opening an image."""
    return current_settings().max_image_bytes


def decode_pixels(image: PIL.Image.Image, what: object) -> None:
    """Decode the pixels of an image that was opened lazily.

    Raises:
        MediaError: The image is broken.
    """
    try:
        image.load()
    except Exception as error:  # the type of the error depends on the format
        raise MediaError(f"{what} is broken: {error}") from error
