"""Optical flow of points between two images, and appearance models of image patches, with OpenCV.

Coordinates are in pixels from the centre of the image's upper left pixel, as OpenCV counts; CVAT counts
from that pixel's corner.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb

__all__ = ["Appearance", "Array", "Picture", "fit_similarity", "flow", "import_opencv", "moved"]

Array: TypeAlias = NDArray[np.floating[Any]]

_LEVELS = 4
"""Number of pyramid levels: a window of 21 pixels finds motions of up to about 170 pixels."""

_MAX_FORWARD_BACKWARD_ERROR = 1.0
"""Maximum forward-backward error of a tracked point, in pixels."""

_MAX_SCALE = 1.18
"""Maximum change of scale between two images."""

_FEWEST = 6
"""Minimum number of points to fit a motion."""


@cache
def import_opencv() -> ModuleType:
    """Import OpenCV.

    Raises:
        FunctionLoadError: It is not installed.
    """
    return import_extra("cv2")


class Picture:
    """A grey image pyramid.

    Attributes:
        levels: Arrays `[H, W]`, uint8, each half as large as the previous one.
    """

    def __init__(self, image: PIL.Image.Image) -> None:
        grey = np.asarray(to_rgb(image).convert("L"))
        self.levels = [grey]
        while len(self.levels) <= _LEVELS and min(self.levels[-1].shape) >= 32:
            self.levels.append(import_opencv().pyrDown(self.levels[-1]))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        height, width = self.levels[0].shape
        return width, height

    def holds(self, points: Array) -> NDArray[np.bool_]:
        """`[N]`: which of the points `[N, 2]` are inside the image by at least one pixel."""
        inside = (points >= 1) & (points <= np.array(self.size) - 2)
        return np.logical_and.reduce(inside, axis=1)  # type: ignore[no-any-return]


def flow(before: Picture, after: Picture, points: Array, window: int) -> tuple[Array, NDArray[np.bool_]]:
    """Compute the optical flow of points with the pyramidal Lucas-Kanade method.

    Args:
        before: The image with the points.
        after: The next image.
        points: `[N, 2]`: x and y in pixels.
        window: Side of the window around each point, in pixels.

    Returns:
        The points on the next image, `[N, 2]`, and which of them pass the forward-backward check, `[N]`.
    """
    if not len(points):
        return points, np.zeros(0, dtype=bool)
    # build pyramids of the surroundings only
    reach = window * 2 ** (_LEVELS - 1)
    left, top = np.maximum(points.min(axis=0) - reach, 0).astype(int)
    right, bottom = np.maximum(np.ceil(points.max(axis=0)).astype(int) + reach, (left + 2, top + 2))
    one, other = (picture.levels[0][top:bottom, left:right] for picture in (before, after))
    if min(one.shape, default=0) < 2:
        return points, np.zeros(len(points), dtype=bool)
    cv2 = import_opencv()
    settings = {"winSize": (window, window), "maxLevel": _LEVELS}
    start = np.asarray(points - (left, top), dtype=np.float32).reshape(-1, 1, 2)
    there, found, _ = cv2.calcOpticalFlowPyrLK(one, other, start, None, **settings)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(other, one, there, None, **settings)
    error = np.linalg.norm((back - start).reshape(-1, 2), axis=1)
    good = (found.ravel() == 1) & (found_back.ravel() == 1) & (error < _MAX_FORWARD_BACKWARD_ERROR)
    return there.reshape(-1, 2).astype(np.float64) + np.array([left, top]), good


def fit_similarity(start: Array, end: Array, *, turns: bool) -> Array | None:
    """Fit translation, scale and, if `turns`, rotation to moved points robustly (RANSAC).

    Scale and rotation are damped by the fraction of inliers.

    Returns:
        A matrix `[3, 3]`; None if there are too few inliers or the scale changes too much.
    """
    if len(start) < _FEWEST:
        return None
    matrix, inliers = import_opencv().estimateAffinePartial2D(start, end, ransacReprojThreshold=1.5)
    if matrix is None or inliers.sum() < _FEWEST or inliers.mean() < 0.25:
        return None
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if not 1 / _MAX_SCALE < scale < _MAX_SCALE:
        return None
    belief = float(inliers.mean())
    scale **= belief
    angle = belief * math.atan2(matrix[1, 0], matrix[0, 0]) if turns else 0.0
    centre = start.mean(axis=0)
    centre_after = matrix[:, :2] @ centre + matrix[:, 2]
    fitted = np.eye(3)
    fitted[:2, :2] = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    fitted[:2, 2] = centre_after - fitted[:2, :2] @ centre
    return fitted


def moved(points: Array, motion: Array) -> Array:
    """Transform points `[N, 2]` by a matrix `[3, 3]`."""
    return points @ motion[:2, :2].T + motion[:2, 2]


class Appearance:
    """The appearance of an object: small grey templates of its first and its recent images.

    Args:
        picture: The first image.
        box: The box of the object, `x1, y1, x2, y2`, in pixels.
        outline: `[N, 2]`: the outline of the object; None weights the middle of the box most.
    """

    _LONGEST = 48
    """Longer side of the templates, in pixels."""

    _OF_FIRST = 0.9
    """Weight of the similarity with the first template; the rest is that with the recent one."""

    _LEARNT = 0.12
    """Maximum learning rate of the recent template."""

    def __init__(self, picture: Picture, box: Sequence[float], outline: Array | None = None) -> None:
        x1, y1, x2, y2 = box
        width, height = max(x2 - x1, 1.0), max(y2 - y1, 1.0)
        shrink = min(1.0, self._LONGEST / max(width, height))
        self._size = max(8, round(width * shrink)), max(8, round(height * shrink))
        # from template pixels to the first image
        self._to_first = np.eye(3)
        self._to_first[0, 0], self._to_first[1, 1] = width / self._size[0], height / self._size[1]
        self._to_first[:2, 2] = x1 + self._to_first[0, 0] / 2 - 0.5, y1 + self._to_first[1, 1] / 2 - 0.5
        rows, columns = np.mgrid[: self._size[1], : self._size[0]] + 0.5
        if outline is None:
            x, y = columns / self._size[0] - 0.5, rows / self._size[1] - 0.5
            weights = np.exp(-(x**2 + y**2) / (2 * 0.3**2))
        else:
            corners = moved(outline, np.linalg.inv(self._to_first))
            weights = np.zeros(rows.shape)
            import_opencv().fillPoly(weights, [np.round(corners).astype(np.int32)], 1.0)
        self._weights = weights / max(weights.sum(), 1e-9)
        self._first = self._latest = self.look(picture, np.eye(3))

    def look(self, picture: Picture, motion: Array) -> Array:
        """Sample the template at the object's position for a motion since the first image.

        Returns:
            `[h, w]`, of mean 0 and deviation 1; 0 where it has no structure.
        """
        matrix = motion @ self._to_first
        step = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        level = min(max(0, round(math.log2(max(step, 1.0)))), len(picture.levels) - 1)
        matrix = np.diag([0.5**level, 0.5**level, 1.0]) @ matrix
        cv2 = import_opencv()
        seen = cv2.warpAffine(
            picture.levels[level],
            matrix[:2],
            self._size,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ).astype(np.float64)
        return self._normalized(seen)

    def likeness(self, seen: Array) -> float:
        """Similarity with the object (correlation): at most 1; about 0 for anything else."""
        lately = float((self._weights * seen * self._latest).sum())
        at_first = float((self._weights * seen * self._first).sum())
        return max(lately, self._OF_FIRST * at_first)

    def learn(self, seen: Array, likeness: float) -> None:
        """Update the recent template; the rate decreases with the similarity."""
        part = self._LEARNT * min(max((likeness - 0.3) / 0.4, 0.0), 1.0)
        self._latest = self._normalized((1 - part) * self._latest + part * seen)

    def _normalized(self, seen: Array) -> Array:
        difference = seen - (self._weights * seen).sum()
        deviation = math.sqrt((self._weights * difference**2).sum())
        return difference / deviation if deviation > 1e-3 else np.zeros_like(difference)
