"""Draws annotations as SVG over a frame."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

Shape = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class LabelStyle:
    """Name, color and type of a label, and whether it is a keypoint of another one."""

    name: str
    color: str
    type: str = "any"
    is_keypoint: bool = False


@dataclass(frozen=True, kw_only=True)
class FrameImage:
    """The image of a frame: its URL and its size in pixels."""

    url: str
    width: int
    height: int


def draw(
    image: FrameImage, shapes: list[Shape], styles: Mapping[int, LabelStyle], *, captions: bool = True
) -> str:
    """Draw a frame with its shapes as a scalable SVG element.

    Args:
        image: The frame.
        shapes: Shapes as in the API; those outside are skipped.
        styles: The labels by id.
        captions: Whether to draw labels and scores.
    """
    unit = max(image.width, image.height) / 100
    parts = [
        f'<svg viewBox="0 0 {image.width} {image.height}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f'<image href="{escape(image.url)}" width="{image.width}" height="{image.height}"/>',
    ]
    visible = [shape for shape in shapes if not shape.get("outside")]
    for shape in sorted(visible, key=lambda item: (item["z_order"], item.get("id") or 0)):
        style = styles.get(shape["label_id"], LabelStyle(name="?", color="#ff00ff"))
        parts.append(
            f'<g stroke="{escape(style.color)}" fill="{escape(style.color)}" fill-opacity="0.2"'
            f' stroke-width="{unit * 0.35:.3g}">{_outline(shape, styles, unit)}</g>'
        )
        if captions:
            parts.append(_caption(shape, style, unit))
    parts.append("</svg>")
    return "".join(parts)


def mask_path(points: list[float]) -> str:
    """Convert the run lengths of a mask to an SVG path: one rectangle for each row of each run."""
    runs, (left, top, right, _) = [int(value) for value in points[:-4]], points[-4:]
    width = int(right) - int(left) + 1
    parts = []
    position = 0
    for index, run in enumerate(runs):
        stop = position + run
        while index % 2 and position < stop and width > 0:
            row, column = divmod(position, width)
            length = min(stop - position, width - column)
            parts.append(f"M{int(left) + column} {int(top) + row}h{length}v1h-{length}z")
            position += length
        position = stop
    return "".join(parts)


def _outline(shape: Shape, styles: Mapping[int, LabelStyle], unit: float) -> str:
    points: list[float] = list(shape.get("points") or [])
    kind = shape["type"]
    rotation = shape.get("rotation") or 0
    if kind == "rectangle":
        left, top, right, bottom = points
        center = f"{(left + right) / 2:g} {(top + bottom) / 2:g}"
        return (
            f'<rect x="{min(left, right):g}" y="{min(top, bottom):g}" width="{abs(right - left):g}"'
            f' height="{abs(bottom - top):g}" transform="rotate({rotation:g} {center})"/>'
        )
    if kind == "ellipse":
        x, y, right, top = points
        return (
            f'<ellipse cx="{x:g}" cy="{y:g}" rx="{abs(right - x):g}" ry="{abs(top - y):g}"'
            f' transform="rotate({rotation:g} {x:g} {y:g})"/>'
        )
    if kind == "mask":
        return f'<path d="{mask_path(points)}" fill-opacity="0.45" stroke="none"/>'
    if kind == "polygon":
        return f'<polygon points="{_listed(points)}"/>'
    if kind == "polyline":
        return f'<polyline points="{_listed(points)}" fill="none"/>'
    if kind == "skeleton":
        return _skeleton(shape, styles, unit)
    if kind == "cuboid":
        return f'<polygon points="{_listed(points[:8])}"/><polygon points="{_listed(points[8:])}"/>'
    return "".join(_dot(x, y, unit) for x, y in _pairs(points))


def _skeleton(shape: Shape, styles: Mapping[int, LabelStyle], unit: float) -> str:
    dots = []
    for element in sorted(shape["elements"], key=lambda item: item["label_id"]):
        if element.get("outside") or not element.get("points"):
            continue
        x, y = element["points"][:2]
        style = styles.get(element["label_id"])
        title = f"<title>{escape(style.name)}</title>" if style else ""
        dots.append(f'<g fill-opacity="{0.4 if element["occluded"] else 1}">{title}{_dot(x, y, unit)}</g>')
    corners = _listed(
        [value for element in shape["elements"] if not element.get("outside") for value in element["points"]]
    )
    return f'<polyline points="{corners}" fill="none" stroke-opacity="0.25"/>' + "".join(dots)


def _caption(shape: Shape, style: LabelStyle, unit: float) -> str:
    x, y = _corner(shape)
    score = shape.get("score")
    text = style.name if score is None else f"{style.name} {score:.2f}"
    size = unit * 2.2
    return (
        f'<text x="{max(x, 0):g}" y="{max(y - unit * 0.5, size):g}" font-size="{size:.3g}" fill="#fff"'
        f' stroke="#000" stroke-width="{size / 6:.3g}" paint-order="stroke">{escape(text)}</text>'
    )


def _corner(shape: Shape) -> tuple[float, float]:
    points = list(shape.get("points") or [])
    if shape["type"] == "skeleton":
        points = [value for element in shape["elements"] for value in element.get("points") or []]
    if shape["type"] == "mask":
        return points[-4], points[-3]
    if shape["type"] == "ellipse":
        return 2 * points[0] - points[2], points[3]
    return min(points[::2], default=0), min(points[1::2], default=0)


def _dot(x: float, y: float, unit: float) -> str:
    return f'<circle cx="{x:g}" cy="{y:g}" r="{unit * 0.7:.3g}" fill-opacity="1"/>'


def _pairs(points: list[float]) -> list[tuple[float, float]]:
    return [pair for index, pair in enumerate(pairwise(points)) if index % 2 == 0]


def _listed(points: list[float]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in _pairs(points))
