"""Image files: what they are, and how they come out in original and in compressed quality."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

_SWAPPED = frozenset({5, 6, 7, 8})
_PREVIEW = (256, 256)
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "TGA")
"""The formats that are taken: Pillow would open others by starting a program (Ghostscript for EPS)."""

PLACEHOLDER_NAME = "placeholder.jpg"


class BrokenImageError(ValueError):
    """A file is not an image that can be read."""


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """The size of an image as it is shown, and whether EXIF turns it."""

    width: int
    height: int
    rotated: bool


def inspect(path: Path) -> ImageFacts:
    """Reads what a task needs to know about an image, and that it can be read.

    Raises:
        BrokenImageError: If the file is no image.
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
    """An image in original quality, with its extension: the file as it came, unless EXIF turns it."""
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
    """An image in compressed quality: always JPEG."""
    with _open(path) as image:
        return _jpeg(ImageOps.exif_transpose(image), quality)


def preview(path: Path) -> bytes:
    """A small JPEG of an image."""
    with _open(path) as image:
        upright = ImageOps.exif_transpose(image)
        upright.thumbnail(_PREVIEW)
        return _jpeg(upright, 75)


def placeholder() -> bytes:
    """What stands in a ground truth chunk for a frame that is not the job's: one pixel."""
    return _jpeg(Image.new("RGB", (1, 1)), 70)


def encoded(image: Image.Image, kind: str, *, quality: int = 95) -> bytes:
    """An image of a video's frame as PNG or JPEG."""
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
