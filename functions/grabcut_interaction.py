"""Segments the object in a box, or around points, by its colours, without a model or a download.

GrabCut (Rother, Kolmogorov and Blake, 2004), of OpenCV, which is an extra:
`pip install "prefect-cvat[video]"`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from prefect_cvat.auto_annotation import (
    InteractionFunctionContext,
    InteractionFunctionSpec,
    InteractionPrompts,
    InteractionResultShape,
)
from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb
from prefect_cvat.masks import encode_mask

__all__ = ["GrabCutFunction", "create"]

Box = tuple[float, float, float, float]

_MAX_SIDE = 200
"""Maximum side of the processed image region in pixels; larger regions are scaled down."""

_CORE = 0.45
"""Points with at most this normalized squared distance from the centre of a box are certain foreground."""

_CORNERS = 1.3
"""Points beyond this normalized squared distance (in the corners of a box) are probable background."""

_POINT = 0.02
"""Radius around a point with its label, as a fraction of the smaller side of the region."""

_MIN_AREA_FRACTION = 0.2
"""Minimum area of a part of an object, as a fraction of its largest part."""

_LARGEST_HOLE = 0.05
"""Maximum area of a hole that is filled, as a fraction of the object."""


class GrabCutFunction:
    """Segments objects by their colours; see `create`."""

    def __init__(self, *, margin: float, reach: float, iterations: int) -> None:
        self.margin = margin
        self.reach = reach
        self.iterations = iterations

    @property
    def spec(self) -> InteractionFunctionSpec:
        """The spec: prompts are a box, points, or both."""
        return InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def preprocess_image(
        self,
        context: InteractionFunctionContext,  # noqa: ARG002 (the interface has it)
        image: PIL.Image.Image,
    ) -> NDArray[np.uint8]:
        """Convert an image to RGB, `[H, W, 3]`."""
        return np.asarray(to_rgb(image))

    def detect(
        self,
        context: InteractionFunctionContext,  # noqa: ARG002 (the interface has it)
        pp_image: NDArray[np.uint8],
        prompts: InteractionPrompts,
    ) -> list[InteractionResultShape]:
        """Segment the object; returns one mask, or nothing without prompts inside the image."""
        height, width = pp_image.shape[:2]
        box = self._box(prompts, width, height)
        if box is None:
            return []
        left, top, right, bottom = _around(box, self.margin, width, height)
        if right - left < 2 or bottom - top < 2:
            return []
        part = pp_image[top:bottom, left:right]
        scale = min(1.0, _MAX_SIDE / max(part.shape[:2]))
        size = max(2, round(part.shape[1] * scale)), max(2, round(part.shape[0] * scale))
        cv2 = import_extra("cv2")
        small = cv2.resize(part, size, interpolation=cv2.INTER_AREA) if scale < 1 else part
        # from image coordinates to region coordinates
        stretch = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
        corners = (np.reshape(box, (2, 2)) - (left, top)) * stretch
        points = [
            (np.reshape(each, (-1, 2)) - (left, top)) * stretch
            for each in (prompts.pos_points, prompts.neg_points)
        ]
        guess = _guess(size, corners, points, is_box=prompts.bounding_box is not None)
        found = _tidied(self._cut(small, guess), guess)
        if scale < 1:
            found = cv2.resize(found.astype(np.float32), part.shape[1::-1]) >= 0.5
        if prompts.bounding_box is not None:
            found &= _inside(part.shape[1::-1], np.reshape(box, (2, 2)) - (left, top))
        if not found.any():
            return []
        return [InteractionResultShape(type="mask", points=encode_mask(found, offset=(left, top)))]

    def _box(self, prompts: InteractionPrompts, width: int, height: int) -> Box | None:
        """The box that contains the object: the prompt, or a box around the points."""
        if prompts.bounding_box is not None:
            (x1, y1), (x2, y2) = prompts.bounding_box
        elif prompts.pos_points:
            xs, ys = zip(*prompts.pos_points, strict=True)
            reach = self.reach * min(width, height)
            x1, y1, x2, y2 = min(xs) - reach, min(ys) - reach, max(xs) + reach, max(ys) + reach
        else:
            return None
        x1, y1, x2, y2 = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
        return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None

    def _cut(self, pixels: NDArray[np.uint8], guess: NDArray[np.uint8]) -> NDArray[np.bool_]:
        cv2 = import_extra("cv2")
        is_object = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD))
        if is_object.all() or not is_object.any():
            return is_object
        cv2.setRNGSeed(0)  # the same image gives the same mask
        cut = guess.copy()
        models = np.zeros((1, 65)), np.zeros((1, 65))
        try:
            pixels = np.ascontiguousarray(pixels)
            cv2.grabCut(pixels, cut, None, *models, self.iterations, cv2.GC_INIT_WITH_MASK)
        except cv2.error:  # too few pixels of foreground or background
            return is_object
        return np.isin(cut, (cv2.GC_FGD, cv2.GC_PR_FGD))


def create(*, margin: float = 0.15, reach: float = 0.25, iterations: int = 5) -> GrabCutFunction:
    """Make an interaction function that takes a box, points, or both, and returns a mask.

    GrabCut separates colours: pixels outside the box, and similar ones inside, are background; the middle of
    the box is foreground. It works for objects whose colours differ from the background. Results have no
    confidence.

    Example:
        `create(margin=0.3)`

    Args:
        margin: Margin around a box from which background colours are learnt, as a fraction of its sides.
        reach: Maximum distance of the object from points without a box, as a fraction of the image's
            smaller side.
        iterations: Number of iterations of GrabCut.

    Raises:
        FunctionLoadError: OpenCV is not installed.
        ValueError: An argument is out of range.
    """
    if not 0 < margin <= 2:
        raise ValueError(f"margin must be more than 0 and at most 2, not {margin}")
    if not 0 < reach <= 1:
        raise ValueError(f"reach must be more than 0 and at most 1, not {reach}")
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, not {iterations}")
    import_extra("cv2")
    return GrabCutFunction(margin=margin, reach=reach, iterations=iterations)


def _around(box: Box, margin: float, width: int, height: int) -> tuple[int, int, int, int]:
    """The image region to process: left, top, right, bottom, in pixels."""
    x1, y1, x2, y2 = box
    dx, dy = max(6.0, margin * (x2 - x1)), max(6.0, margin * (y2 - y1))
    return (
        max(0, math.floor(x1 - dx)),
        max(0, math.floor(y1 - dy)),
        min(width, math.ceil(x2 + dx)),
        min(height, math.ceil(y2 + dy)),
    )


def _guess(
    size: tuple[int, int], corners: NDArray[Any], points: Sequence[NDArray[Any]], *, is_box: bool
) -> NDArray[np.uint8]:
    """The initial mask for GrabCut, `[H, W]`, with OpenCV's labels (`GC_FGD` and so on)."""
    cv2 = import_extra("cv2")
    width, height = size
    y, x = np.mgrid[:height, :width] + 0.5
    half = np.maximum((corners[1] - corners[0]) / 2, 0.5)
    middle = corners.mean(axis=0)
    # 0 in the middle of the box, 1 on the ellipse in it, 2 in its corners
    distance = ((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2
    guess = np.full((height, width), cv2.GC_BGD, dtype=np.uint8)
    inside = _inside(size, corners)
    guess[inside] = cv2.GC_PR_BGD
    guess[inside & (distance < _CORNERS)] = cv2.GC_PR_FGD
    if is_box and not len(points[0]):
        guess[distance < _CORE] = cv2.GC_FGD
    radius = max(1.0, _POINT * min(size))
    for places, answer in zip(points, (cv2.GC_FGD, cv2.GC_BGD), strict=True):
        for place in places:
            guess[(x - place[0]) ** 2 + (y - place[1]) ** 2 <= radius**2] = answer
    return guess


def _inside(size: tuple[int, ...], corners: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels that a box covers by at least half; at least one."""
    (x1, y1), (x2, y2) = np.floor(corners + 0.5).astype(int)
    inside = np.zeros(size[::-1], dtype=np.bool_)
    x1, y1 = min(x1, size[0] - 1), min(y1, size[1] - 1)
    inside[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
    return inside


def _tidied(found: NDArray[np.bool_], guess: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Remove small parts and parts without certain foreground, and fill small holes."""
    cv2 = import_extra("cv2")
    sure = guess == cv2.GC_FGD
    count, parts, statistics, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8), connectivity=8)
    areas = statistics[:, cv2.CC_STAT_AREA]
    if count > 1:
        min_area = _MIN_AREA_FRACTION * areas[1:].max()
        with_sure = set(np.unique(parts[sure & found]).tolist())
        kept = [
            part
            for part in range(1, count)
            if areas[part] >= min_area and (part in with_sure or not with_sure)
        ]
        found = np.isin(parts, kept or [1 + int(areas[1:].argmax())])
    count, holes, statistics, _ = cv2.connectedComponentsWithStats((~found).astype(np.uint8), connectivity=4)
    edge = {*holes[0], *holes[-1], *holes[:, 0], *holes[:, -1]}
    max_area = _LARGEST_HOLE * found.sum()
    small = [
        hole
        for hole in range(1, count)
        if hole not in edge and statistics[hole, cv2.CC_STAT_AREA] <= max_area
    ]
    return np.asarray(found | (np.isin(holes, small) & (guess != cv2.GC_BGD)), dtype=np.bool_)
