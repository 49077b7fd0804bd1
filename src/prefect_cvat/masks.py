"""Encodes and decodes masks in CVAT's format, and converts them to and from polygons.

CVAT stores a mask in the `points` of a shape: run lengths of the pixels in a box, row by row, alternating
between background and mask and beginning with background, followed by the box `x1, y1, x2, y2`. The last
column x2 and the last row y2 belong to the box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["decode_mask", "encode_mask", "mask_to_polygons", "polygon_to_mask"]

_SPECK = 0.01
"""Square pixels. Outlines with a smaller area may have fewer than three different points."""


def encode_mask(
    bitmap: ArrayLike, /, bbox: Sequence[float] | None = None, *, offset: tuple[int, int] = (0, 0)
) -> list[float]:
    """Encode a mask for the `points` of a shape of type `mask`.

    Args:
        bitmap: Booleans `[H, W]`, of the whole image or of a part of it.
        bbox: The part of the bitmap to encode, `[x1, y1, x2, y2]` in pixels, extended to whole pixels.
            None takes the smallest box with all pixels of the mask, or one pixel if the mask is empty.
        offset: The position of the bitmap's upper left pixel in the image, as `(x, y)`.

    Returns:
        The run lengths and the box.

    Raises:
        ValueError: The bitmap is not two-dimensional or not boolean, or the box is empty or not
            within it.
    """
    bitmap = np.asanyarray(bitmap)
    if bitmap.ndim != 2:
        raise ValueError(f"bitmap must have 2 dimensions, not {bitmap.ndim}")
    if bitmap.dtype != np.bool_:
        raise ValueError(f"bitmap must have boolean items, not {bitmap.dtype}")
    x1, y1, x2, y2 = _smallest_box(bitmap) if bbox is None else _whole_pixels(bbox)
    height, width = bitmap.shape
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
        raise ValueError(f"bbox {bbox!r} is empty or not within a bitmap of {width}x{height} pixels")
    pixels = bitmap[y1:y2, x1:x2].ravel()
    # The first run is background, and may have length 0.
    starts = [0, 0] if pixels[0] else [0]
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs: list[float] = np.diff(np.concatenate([starts, changes, [pixels.size]])).tolist()
    dx, dy = offset
    return [*runs, x1 + dx, y1 + dy, x2 - 1 + dx, y2 - 1 + dy]


def decode_mask(encoded: Sequence[float], /, *, image_width: int, image_height: int) -> NDArray[np.bool_]:
    """Decode the `points` of a shape of type `mask`.

    Args:
        encoded: The points.
        image_width: The width of the image, in pixels.
        image_height: The height of the image, in pixels.

    Returns:
        Booleans `[image_height, image_width]`.

    Raises:
        ValueError: These are not the points of a mask, or the mask is not within the image.
    """
    if len(encoded) < 5:
        raise ValueError(f"an encoded mask has 5 numbers or more, not {len(encoded)}")
    if image_width <= 0 or image_height <= 0:
        raise ValueError(f"an image cannot have {image_width}x{image_height} pixels")
    values = np.asarray(encoded, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        numbers = values.astype(np.int64)
    if (strange := np.flatnonzero(numbers != values)).size:
        raise ValueError(f"encoded mask has a number that is not whole: {encoded[strange[0]]!r}")
    runs = numbers[:-4]
    x1, y1, x2, y2 = numbers[-4:].tolist()
    if not (0 <= x1 <= x2 < image_width and 0 <= y1 <= y2 < image_height):
        raise ValueError(
            f"encoded mask has the box ({x1}, {y1}, {x2}, {y2}),"
            f" which is empty or not within an image of {image_width}x{image_height} pixels"
        )
    width, height = x2 - x1 + 1, y2 - y1 + 1
    # Python integers: malicious run lengths could overflow to the correct sum.
    if runs.min() < 0 or sum(runs.tolist()) != width * height:
        raise ValueError(f"the run lengths of an encoded mask do not fill its box of {width}x{height} pixels")
    mask = np.zeros((image_height, image_width), dtype=np.bool_)
    in_mask = np.arange(runs.size) % 2 == 1
    mask[y1 : y2 + 1, x1 : x2 + 1] = np.repeat(in_mask, runs).reshape(height, width)
    return mask


def mask_to_polygons(
    mask: ArrayLike,
    /,
    *,
    tolerance: float = 1.0,
    level: float = 0.5,
    offset: tuple[float, float] = (0.0, 0.0),
) -> list[list[float]]:
    """Find the outlines of a mask.

    A mask of several parts gives several polygons. Holes are filled, because polygons in CVAT have no holes;
    a part inside a hole is a separate polygon. Parts of less than 0.01 square pixels, which only
    probabilities can have, are left out.

    Args:
        mask: `[H, W]`, booleans or probabilities. The outline of probabilities has subpixel accuracy.
        tolerance: The maximum distance of a polygon from the outline, in pixels. 0 keeps all points.
        level: The minimum probability of a pixel of the mask.
        offset: The position of the upper left corner of `mask` in the image, as `(x, y)`.

    Returns:
        Polygons `[x1, y1, x2, y2, x3, y3, ...]` of at least three points, in pixels from the corner of the
        image: the outline of a full mask extends from 0 to its width and height.

    Raises:
        ValueError: `mask` is not two-dimensional, or `tolerance` is negative.
    """
    from skimage.measure import approximate_polygon, find_contours  # slow to import

    values = np.asarray(mask)
    if values.ndim != 2:
        raise ValueError(f"mask must have 2 dimensions, not {values.ndim}")
    if tolerance < 0:
        raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
    # A margin of background closes the outlines where the mask touches the border.
    padded = np.pad(values.astype(np.float32, copy=False), 1)
    polygons = []
    outlines = find_contours(padded, math.nextafter(level, -math.inf))  # type: ignore[no-untyped-call]
    for outline in outlines:
        if _area(outline) < _SPECK:
            continue
        corners = approximate_polygon(outline, tolerance)  # type: ignore[no-untyped-call]
        if len(corners) < 4:  # the last point repeats the first
            corners = outline
        # From (row, column) of pixel centres in the padded mask to (x, y) from the corner.
        points = (corners[:-1, ::-1] - 0.5).clip(0, values.shape[::-1])
        polygons.append((points + np.asarray(offset)).ravel().tolist())
    return polygons


def polygon_to_mask(points: Sequence[float], /, *, image_width: int, image_height: int) -> NDArray[np.bool_]:
    """Rasterize a polygon: the mask contains the pixels whose centers are inside.

    Args:
        points: `[x1, y1, x2, y2, x3, y3, ...]` in pixels from the corner of the image.
        image_width: The width of the image, in pixels.
        image_height: The height of the image, in pixels.

    Returns:
        Booleans `[image_height, image_width]`.
    """
    from skimage.draw import polygon  # slow to import

    mask = np.zeros((image_height, image_width), dtype=np.bool_)
    corners = np.asarray(points, dtype=np.float64).reshape(-1, 2) - 0.5
    rows, columns = polygon(corners[:, 1], corners[:, 0], mask.shape)  # type: ignore[no-untyped-call]
    mask[rows, columns] = True
    return mask


def _smallest_box(bitmap: NDArray[Any]) -> tuple[int, int, int, int]:
    rows = np.flatnonzero(bitmap.any(axis=1))
    if not rows.size:
        return 0, 0, 1, 1
    y1, y2 = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(bitmap[y1:y2].any(axis=0))
    return int(columns[0]), y1, int(columns[-1]) + 1, y2


def _whole_pixels(bbox: Sequence[float]) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = bbox
    return math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)


def _area(outline: NDArray[np.float64]) -> float:
    """The signed area of an outline, negative for a hole (find_contours reverses its direction)."""
    y, x = (outline - outline[0]).T
    return float(np.dot(x[:-1], y[1:]) - np.dot(y[:-1], x[1:])) / 2
