"""Draws one frame with its annotations as an SVG, for artifacts in Prefect."""

from __future__ import annotations

import base64
import colorsys
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import PIL.Image

from prefect_cvat.frames import Frame
from prefect_cvat.masks import decode_mask
from prefect_cvat.media.untrusted_images import decode_pixels, open_image
from prefect_cvat.messages.html_text import escape_html

__all__ = ["AnnotatedFrame", "Colors", "Palette", "render_frame", "shrink_image", "shrunk"]

WIDTH = 960
"""Pixels of the longer side of the image; larger images are scaled down."""

MAX_SHAPES = 1_000
"""Maximum number of shapes drawn on a frame. More of them could not be distinguished."""

MAX_ROWS = 4
"""How many rows a caption may be below its shape's corner, where others are in its way. Farther away it would
seem to belong to another shape, so it is left out."""

MAX_CAPTIONS = 300
"""Maximum number of captions on a frame: each is placed next to all others."""


@dataclass(frozen=True)
class AnnotatedFrame:
    """A frame, its image, and the annotations on it as the server's JSON objects.

    Attributes:
        frame: The frame.
        jpeg: Its image, scaled down by `shrink_image`.
        tags: The tags.
        shapes: The shapes. If a shape has a `track`, a number, its caption contains it.
    """

    frame: Frame
    jpeg: bytes
    tags: Sequence[Mapping[str, Any]]
    shapes: Sequence[Mapping[str, Any]]


def render_frame(
    annotated: AnnotatedFrame,
    labels: Mapping[int, str],
    *,
    width: int = WIDTH,
    colors: Colors | None = None,
) -> str:
    """Draw a frame as a self-contained SVG. Shapes with wrong points are left out.

    Args:
        annotated: The frame.
        labels: The names of labels and sublabels by id. Colors are assigned in this order, so that a label
            has the same color on all frames of a task.
        width: Pixels of the longer side of the drawing. A larger image is scaled down to it.
        colors: The colors of labels by name; None assigns them.
    """
    return _svg(annotated, labels, colors or Palette(labels.values()), width)


class Colors(Protocol):
    """A color such as `#e0457b` for each name of a label."""

    def __getitem__(self, name: str, /) -> str:
        """The color of a label."""
        ...


def _svg(annotated: AnnotatedFrame, labels: Mapping[int, str], colors: Colors, width: int) -> str:
    frame = annotated.frame
    longer = max(frame.width, frame.height)
    unit = longer / 100  # line widths and font sizes are relative to the image
    captions: list[tuple[float, float]] = []  # the corners of the captions so far
    drawn = ""
    for shape in annotated.shapes[:MAX_SHAPES]:
        with suppress(ValueError):  # somebody may have written a shape with wrong points to the server
            drawn += _shape(shape, labels, colors, frame, unit, captions)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {frame.width} {frame.height}"'
        f' width="{frame.width * width / longer:.0f}" height="{frame.height * width / longer:.0f}" role="img"'
        f' aria-label="{escape_html(frame.name)}" font-family="system-ui, sans-serif" font-weight="600">'
        f'<image href="{_data_uri(annotated.jpeg, width)}" width="{frame.width}" height="{frame.height}"/>'
        f"{drawn}</svg>"
    )


def _shape(
    shape: Mapping[str, Any],
    labels: Mapping[int, str],
    colors: Colors,
    frame: Frame,
    unit: float,
    captions: list[tuple[float, float]],
) -> str:
    name = labels[shape["label_id"]]
    color = colors[name]
    line = f'stroke="{color}" stroke-width="{0.35 * unit:.2f}"'
    style = f'fill="{color}" fill-opacity=".07" {line}'
    points = shape.get("points") or []
    match shape["type"]:
        case "rectangle":
            x1, y1, x2, y2 = points
            rotate = _rotate(shape, (x1 + x2) / 2, (y1 + y2) / 2)
            drawn = f'<rect x="{x1}" y="{y1}" width="{x2 - x1}" height="{y2 - y1}" {style}{rotate}/>'
        case "polygon":
            drawn = f'<polygon points="{_numbers(points)}" {style}/>'
        case "polyline":
            drawn = f'<polyline points="{_numbers(points)}" fill="none" {line}/>'
        case "ellipse":
            cx, cy, right, top = points
            radii = f'rx="{abs(right - cx)}" ry="{abs(cy - top)}"'
            drawn = f'<ellipse cx="{cx}" cy="{cy}" {radii} {style}{_rotate(shape, cx, cy)}/>'
        case "mask":
            drawn = _mask(points, frame, color)
        case "skeleton":
            points = [number for element in shape["elements"] for number in element["points"]]
            drawn = _dots(points, color, unit)
        case _:
            drawn = _dots(points, color, unit)
    if not name or len(captions) >= MAX_CAPTIONS:
        return f"<g>{drawn}</g>"
    corner_x, corner_y = _corner(shape["type"], points)
    score = shape.get("score")
    number = f" #{shape['track']}" if "track" in shape else ""
    text = f"{escape_html(name)}{number}{'' if score is None else f' {score:.2f}'}"
    size = 2.2 * unit
    y = max(corner_y, size * 1.3)
    width = 0.64 * size * (len(html.unescape(text)) + 1)
    x = max(0.0, min(corner_x, frame.width - width))
    lowest = y + (MAX_ROWS + 0.5) * size * 1.3
    while any(abs(x - other_x) < width and abs(y - other_y) < size * 1.2 for other_x, other_y in captions):
        y += size * 1.3
        if y > lowest:
            return f"<g>{drawn}</g>"
    captions.append((x, y))
    return (
        f"<g>{drawn}"
        f'<rect x="{x:.1f}" y="{y - size * 1.3:.1f}" width="{width:.1f}" height="{size * 1.3:.1f}"'
        f' fill="{color}"/>'
        f'<text x="{x + 0.3 * size:.1f}" y="{y - 0.35 * size:.1f}" font-size="{size:.1f}" fill="#111">{text}'
        "</text></g>"
    )


def _rotate(shape: Mapping[str, Any], x: float, y: float) -> str:
    """The attribute that rotates a shape around (x, y), if it is rotated."""
    return f' transform="rotate({shape["rotation"]} {x} {y})"' if shape.get("rotation") else ""


def _corner(shape_type: str, points: Sequence[float]) -> tuple[float, float]:
    """The upper left corner of a shape, where its caption is."""
    match shape_type:
        case "mask":
            return points[-4], points[-3]
        case "ellipse":
            return points[0] - abs(points[2] - points[0]), points[3]
        case _:
            return min(points[0::2], default=0.0), min(points[1::2], default=0.0)


def _dots(points: Sequence[float], color: str, unit: float) -> str:
    return "".join(
        f'<circle cx="{x}" cy="{y}" r="{0.6 * unit:.2f}" fill="{color}" stroke="#fff"'
        f' stroke-width="{0.15 * unit:.2f}"/>'
        for x, y in zip(points[0::2], points[1::2], strict=True)
    )


def _mask(points: Sequence[float], frame: Frame, color: str) -> str:
    left, top, right, bottom = (int(number) for number in points[-4:])
    width, height = right - left + 1, bottom - top + 1
    step = max(1, max(width, height) // WIDTH)
    bitmap = decode_mask(points, image_width=frame.width, image_height=frame.height)
    bitmap = bitmap[top : bottom + 1 : step, left : right + 1 : step]
    pixels = np.zeros((*bitmap.shape, 4), np.uint8)
    pixels[bitmap] = [*(int(color[i : i + 2], 16) for i in (1, 3, 5)), 115]
    href = _as_uri(_encode(PIL.Image.fromarray(pixels, "RGBA"), "PNG"), "png")
    return (
        f'<image href="{href}" x="{left}" y="{top}" width="{width}" height="{height}"'
        ' preserveAspectRatio="none"/>'
    )


def _numbers(points: Sequence[float]) -> str:
    return " ".join(f"{number:.1f}" for number in points)


def shrink_image(image: PIL.Image.Image, what: object, width: int = WIDTH) -> bytes:
    """Scale an image down, so that the original need not stay in memory.

    Args:
        image: The image; it is decoded, and no other copy of its size is made.
        what: Its name in errors.
        width: Maximum number of pixels of the longer side.

    Returns:
        A JPEG.

    Raises:
        MediaError: The image is broken.
    """
    decode_pixels(image, what)
    return _encode(shrunk(image, width), "JPEG")


def shrunk(image: PIL.Image.Image, width: int) -> PIL.Image.Image:
    """Scale a decoded image down to RGB, so that its longer side has at most this many pixels."""
    longer = max(image.size)
    if image.mode not in ("RGB", "L", "CMYK"):  # Pillow would convert all of it, or cannot average its pixels
        if longer > 4 * width:
            image = image.resize(_scaled(image.size, 4 * width / longer), PIL.Image.Resampling.NEAREST)
        image = image.convert("RGB")
    if longer > width:
        image = image.resize(
            _scaled(image.size, width / max(image.size)), PIL.Image.Resampling.HAMMING, reducing_gap=1.2
        )
    return image.convert("RGB")


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _data_uri(jpeg: bytes, width: int) -> str:
    with open_image(io.BytesIO(jpeg), "the image of a drawing") as image:
        if max(image.size) > width:
            jpeg = shrink_image(image, "the image of a drawing", width)
    return _as_uri(jpeg, "jpeg")


def _encode(image: PIL.Image.Image, image_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, quality=85)
    return buffer.getvalue()


def _as_uri(data: bytes, image_format: str) -> str:
    return f"data:image/{image_format};base64,{base64.b64encode(data).decode()}"


class Palette:
    """Assigns a color to each label. Hues differ by the golden angle, so that no two are close."""

    def __init__(self, names: Iterable[str]) -> None:
        self._order = {name: i for i, name in enumerate(names)}

    def __getitem__(self, name: str) -> str:
        i = self._order.setdefault(name, len(self._order))
        red, green, blue = colorsys.hls_to_rgb((0.05 + i * 0.618034) % 1, 0.62, 0.85)
        return f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"
