"""Image files: size and orientation, and their original and compressed versions."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

_SWAPPED = frozenset({5, 6, 7, 8})
_PREVIEW = (256, 256)
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "TGA")
"""Accepted formats. For others Pillow may start a program, such as Ghostscript for EPS."""

PLACEHOLDER_NAME = "placeholder.jpg"


class BrokenImageError(ValueError):
    """A file is not a readable image."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """Size of an image in pixels, after EXIF rotation, and whether EXIF rotates or mirrors it."""

    width: int
    height: int
    rotated: bool


def inspect(path: Path) -> ImageFacts:
    """Read size and orientation of an image, and check that it is readable.

    Raises:
        BrokenImageError: The file is not a readable image.
    """
    try:
        with _open(path) as image:
            image.verify()
        with _open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenImageError(f"Cannot read the image {path.name!r}: {error}") from error
    if orientation in _SWAPPED:
        width, height = height, width
    return ImageFacts(width=width, height=height, rotated=orientation not in (0, 1))


def original(path: Path, *, rotated: bool) -> tuple[bytes, str]:
    """Original quality and file extension: the unchanged file, or an upright copy if EXIF rotates it."""
    if not rotated:
        return path.read_bytes(), path.suffix
    with _open(path) as image:
        upright = ImageOps.exif_transpose(image)
        buffer = io.BytesIO()
        if image.format == "JPEG":
            upright.save(buffer, "JPEG", quality=100, subsampling=0)
        else:
            upright.save(buffer, image.format)
    return buffer.getvalue(), path.suffix


def compressed(path: Path, quality: int) -> bytes:
    """Compressed quality: an upright JPEG."""
    with _open(path) as image:
        return _jpeg(ImageOps.exif_transpose(image), quality)


def preview(path: Path) -> bytes:
    """A JPEG of at most 256 x 256 pixels."""
    with _open(path) as image:
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail(_PREVIEW)
        return _jpeg(upright, 75)


def placeholder() -> bytes:
    """The image of one pixel that replaces frames outside a ground truth job."""
    return _jpeg(Image.new("RGB", (1, 1)), 70)


def encoded(image: Image.Image, kind: str, *, quality: int = 95) -> bytes:
    """Encode an image as PNG or JPEG."""
    if kind == "JPEG":
        return _jpeg(image, quality)
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _open(path: Path) -> Image.Image:
    return Image.open(path, formats=_FORMATS)  # noqa: TID251 (this is the place)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
