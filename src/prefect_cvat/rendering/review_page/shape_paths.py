"""Converts the server's shapes to outlines as SVG path data, which the browser draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_cvat.geometry.bounding_box import bounding_box
from prefect_cvat.geometry.outlines import corners_of
from prefect_cvat.masks import decode_mask, mask_to_polygons
from prefect_cvat.rendering.review_page.content import PageShape

__all__ = ["page_shape"]

MAX_POINTS = 100
"""Outlines with more points are simplified."""

MASK_SIZE = 256
"""Pixels of the longer side of a mask whose outline is found; every n-th pixel of a larger one is used."""

TOLERANCE = 1000
"""A simplified outline differs by at most this fraction of the longer side of the image."""

DOT = "h.01"  # a line without length would not be drawn


def page_shape(
    shape: Mapping[str, Any], label: str, image_size: int, *, kind: str = "machine", note: str = ""
) -> PageShape:
    """Convert a shape.

    Args:
        shape: The shape, as the server's JSON object.
        label: The name of its label.
        image_size: The longer side of the image, in pixels.
        kind: The name of one of `content.KINDS`.
        note: What follows the label in its caption.

    Raises:
        ValueError: The shape has the wrong number of points.
    """
    style, path = _outline(shape, image_size / TOLERANCE)
    left, top, right, bottom = (round(float(number), 1) for number in bounding_box(shape))
    score = shape.get("score")
    return PageShape(
        label=label,
        kind=kind,
        style=style,
        box=(left, top, right, bottom),
        path=path,
        score=None if score is None else float(score),
        note=note,
    )


def _outline(shape: Mapping[str, Any], tolerance: float) -> tuple[str, str]:
    """The style and the path of a shape."""
    points: Sequence[float] = shape.get("points") or ()
    match shape["type"]:
        case "rectangle" if not shape.get("rotation"):
            return "area", ""
        case "rectangle" | "ellipse":
            return "area", f"{_lines(corners_of(shape))}Z"
        case "polygon":
            return "area", f"{_lines(_simplified(points, tolerance, is_closed=True))}Z"
        case "polyline":
            return "line", _lines(_simplified(points, tolerance))
        case "mask":
            return "area", "".join(f"{_lines(part)}Z" for part in _mask_outlines(points, tolerance))
        case "skeleton":
            visible = [element for element in shape["elements"] if not element.get("outside")]
            return "dots", _dots([number for element in visible for number in element["points"]])
        case _:
            return "dots", _dots(points)


def _lines(points: Sequence[float]) -> str:
    return "M" + " ".join(map(_number, points))


def _dots(points: Sequence[float]) -> str:
    return "".join(
        f"M{_number(x)} {_number(y)}{DOT}" for x, y in zip(points[0::2], points[1::2], strict=True)
    )


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _simplified(points: Sequence[float], tolerance: float, *, is_closed: bool = False) -> Sequence[float]:
    if len(points) <= 2 * MAX_POINTS:
        return points
    import numpy as np
    from skimage.measure import approximate_polygon  # slow to import

    corners = np.reshape(points, (-1, 2))
    if is_closed:
        corners = np.concatenate([corners, corners[:1]])
    kept = approximate_polygon(corners, tolerance)  # type: ignore[no-untyped-call]
    simplified: list[float] = kept.ravel().tolist()
    return simplified


def _mask_outlines(points: Sequence[float], tolerance: float) -> list[list[float]]:
    left, top, right, bottom = (int(number) for number in points[-4:])
    width, height = right - left + 1, bottom - top + 1
    box = [0, 0, width - 1, height - 1]
    bitmap = decode_mask([*points[:-4], *box], image_width=width, image_height=height)
    step = -(-max(width, height) // MASK_SIZE)
    return [
        [number * step + offset for number, offset in zip(part, (left, top) * (len(part) // 2), strict=True)]
        for part in mask_to_polygons(bitmap[::step, ::step], tolerance=max(0.5, tolerance / step))
    ]
