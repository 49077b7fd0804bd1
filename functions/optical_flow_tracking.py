"""Tracks shapes by optical flow, without a model or a download.

OpenCV is an extra: `pip install "prefect-cvat[video]"`.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator

import numpy as np
import PIL.Image

from prefect_cvat.auto_annotation import (
    TrackableShape,
    TrackingFunctionContext,
    TrackingFunctionShapeContext,
    TrackingFunctionSpec,
)
from prefect_cvat.auto_annotation.functions._optical_flow import (
    Appearance,
    Array,
    Picture,
    fit_similarity,
    flow,
    import_opencv,
    moved,
)

__all__ = ["OpticalFlowFunction", "create"]

_LARGEST_WINDOW = 21
_MAX_CORNERS = 40

_CERTAIN = 0.5
"""Minimum similarity of a position from flow; below it, constant motion is tried too."""


class OpticalFlowFunction:
    """Tracks shapes by optical flow; see `create`."""

    def __init__(self, *, min_similarity: float, patience: int) -> None:
        self.min_similarity = min_similarity
        self.patience = patience

    @property
    def spec(self) -> TrackingFunctionSpec:
        """The types of shapes that can be tracked."""
        types = {"rectangle", "polygon", "ellipse", "points", "polyline"}
        return TrackingFunctionSpec(supported_shape_types=types)

    def preprocess_image(
        self,
        context: TrackingFunctionContext,  # noqa: ARG002 (the interface has it)
        image: PIL.Image.Image,
    ) -> Picture:
        """Convert an image to a grey image pyramid."""
        return Picture(image)

    def init_tracking_state(
        self, context: TrackingFunctionShapeContext, pp_image: Picture, shape: TrackableShape
    ) -> _TrackingState:
        """Start to track a shape."""
        if context.original_shape_type in ("points", "polyline"):
            return _PointsState(pp_image, shape, self)
        return _AreaState(pp_image, shape, self)

    def track(
        self, context: TrackingFunctionShapeContext, pp_image: Picture, state: _TrackingState
    ) -> TrackableShape | None:
        """Track a shape to the next image; None if it is lost."""
        points = state.advance(pp_image)
        if points is None:
            return None
        return TrackableShape(type=context.original_shape_type, points=(points + 0.5).ravel().tolist())


def create(*, min_similarity: float = 0.25, patience: int = 2) -> OpticalFlowFunction:
    """Make a tracking function for rectangles, polygons, ellipses, points and polylines.

    Rectangles, ellipses and polygons move as a whole, polygons also rotate. Two motions are fitted: that of
    most points, and that of points which do not move with the background; the one with the more similar
    appearance is used. Points and polylines move point by point. A shape is lost if its flow cannot be
    computed or its appearance differs too much.

    Objects that are occluded for long, or change their appearance quickly, need keyframes.

    Example:
        `create(patience=5)`

    Args:
        min_similarity: Minimum similarity with the object (correlation, 0 to 1); below it, the object is not
            found.
        patience: Maximum number of consecutive images on which an area is not found; its motion continues.

    Raises:
        FunctionLoadError: OpenCV is not installed.
        ValueError: An argument is out of range.
    """
    if not 0 <= min_similarity <= 1:
        raise ValueError(f"min_similarity must be between 0 and 1, not {min_similarity}")
    if patience < 0:
        raise ValueError(f"patience must be 0 or more, not {patience}")
    import_opencv()
    return OpticalFlowFunction(min_similarity=min_similarity, patience=patience)


class _TrackingState(abc.ABC):
    """A tracked shape."""

    @abc.abstractmethod
    def advance(self, picture: Picture) -> Array | None:
        """Track it to the next image; return its points `[N, 2]`, or None if it is lost."""


class _AreaState(_TrackingState):
    """A rectangle, ellipse or polygon: its motion since its first image, and its appearance."""

    def __init__(self, picture: Picture, shape: TrackableShape, settings: OpticalFlowFunction) -> None:
        self._settings = settings
        self._picture = picture
        self._points = np.asarray(shape.points, dtype=np.float64).reshape(-1, 2) - 0.5
        self._turns = shape.type == "polygon"
        extent = self._points
        if shape.type == "ellipse":  # its centre, and the right end and the top as x and y of a point
            radii = np.abs(self._points[1] - self._points[0])
            extent = np.stack([self._points[0] - radii, self._points[0] + radii])
        low, high = extent.min(axis=0), extent.max(axis=0)
        self._corners: Array = np.array([low, (high[0], low[1]), high, (low[0], high[1])])
        outline = self._points if self._turns else None
        self._appearance = Appearance(picture, (*low, *high), outline)
        self._inside = self._points_inside(low, high)
        self._motion: Array = np.eye(3)
        self._speed: Array = np.zeros(2)
        self._hidden = 0

    def _points_inside(self, low: Array, high: Array) -> Array:
        """A grid of points within the polygon, or within the ellipse in the box of any other shape."""
        grid = _grid(low, high, 12)
        if self._turns:
            cv2 = import_opencv()
            outline = self._points.astype(np.float32).reshape(-1, 1, 2)
            kept: list[bool] = [
                cv2.pointPolygonTest(outline, tuple(map(float, point)), False) >= 0 for point in grid
            ]
            return grid[kept]
        from_centre: Array = (grid - (low + high) / 2) / np.maximum((high - low) / 2, 1e-9)
        in_ellipse: Array = grid[np.linalg.norm(from_centre, axis=1) <= 1]
        return in_ellipse

    def advance(self, picture: Picture) -> Array | None:
        """Track it to the next image."""
        found = [self._refined(picture, motion) for motion in self._motions_by_flow(picture)]
        if max((likeness for likeness, *_ in found), default=0.0) < _CERTAIN:
            found.append(self._refined(picture, _shift(self._speed) @ self._motion))
        likeness, motion, seen = max(found, key=lambda each: each[0])
        centre = self._corners.mean(axis=0, keepdims=True)
        if likeness < self._settings.min_similarity:
            self._hidden += 1
            if self._hidden > self._settings.patience:
                return None
            motion = _shift(self._speed) @ self._motion
        else:
            self._hidden = 0
            step = moved(centre, motion)[0] - moved(centre, self._motion)[0]
            self._speed = 0.6 * self._speed + 0.4 * step
            self._appearance.learn(seen, likeness)
        self._motion, self._picture = motion, picture
        corners = moved(self._corners, motion)
        if (corners.max(axis=0) < 0).any() or (corners.min(axis=0) > np.array(picture.size) - 1).any():
            return None
        return moved(self._points, motion)

    def _motions_by_flow(self, picture: Picture) -> Iterator[Array]:
        """Candidate motions since the first image: that of most points, and that of the foreground."""
        corners = moved(self._corners, self._motion)
        low, high = corners.min(axis=0), corners.max(axis=0)
        size = float((high - low).min())
        window = int(min(max(size / 3, 7), _LARGEST_WINDOW)) | 1
        inside: Array = np.concatenate([moved(self._inside, self._motion), self._distinct_points(low, high)])
        inside = inside[self._picture.holds(inside)]
        margin = max(8.0, 0.35 * size)
        around: Array = _grid(low - margin, high + margin, 12)
        around = around[((around < low) | (around > high)).any(axis=1) & self._picture.holds(around)]
        ends, good = flow(self._picture, picture, np.concatenate([inside, around]), window)
        is_inside = np.arange(len(ends)) < len(inside)
        start, end = inside[good[is_inside]], ends[is_inside & good]
        if (step := fit_similarity(start, end, turns=self._turns)) is not None:
            yield step @ self._motion
        around_steps = ends[~is_inside & good] - around[good[~is_inside]]
        if len(start) and len(around_steps) >= 10:
            background = np.median(around_steps, axis=0)
            spread = float(np.median(np.linalg.norm(around_steps - background, axis=1)))
            apart = np.linalg.norm(end - start - background, axis=1) > max(0.7, 1.5 * spread)
            step = fit_similarity(start[apart], end[apart], turns=self._turns)
            if step is not None and not apart.all():
                yield step @ self._motion

    def _distinct_points(self, low: Array, high: Array) -> Array:
        """Corner features in the middle of the object on the previous image."""
        middle, half = (low + high) / 2, (high - low) * 0.35
        x1, y1 = np.maximum(middle - half, 0).astype(int)
        x2, y2 = np.maximum(middle + half, 0).astype(int)
        part = self._picture.levels[0][y1:y2, x1:x2]
        if self._turns or min(part.shape) < 8:  # a polygon's box may hold other things
            return np.zeros((0, 2))
        found = import_opencv().goodFeaturesToTrack(part, _MAX_CORNERS, 0.05, 4)
        corners: Array = np.zeros((0, 2)) if found is None else found.reshape(-1, 2).astype(np.float64)
        corners += (x1, y1)
        return corners

    def _refined(self, picture: Picture, motion: Array) -> tuple[float, Array, Array]:
        """Shift to the nearby position with the most similar appearance, to correct drift."""
        seen = self._appearance.look(picture, motion)
        likeness = self._appearance.likeness(seen)
        extent = np.ptp(moved(self._corners, motion), axis=0)
        step = max(0.5, 0.04 * float(extent.min()))
        for length in (step, step / 2):
            for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                shifted = _shift(length * np.array(direction)) @ motion
                seen_there = self._appearance.look(picture, shifted)
                likeness_there = self._appearance.likeness(seen_there)
                if likeness_there > likeness + 0.005:
                    likeness, motion, seen = likeness_there, shifted, seen_there
        return likeness, motion, seen


class _PointsState(_TrackingState):
    """Points that move separately; points without flow move with the others."""

    _RADIUS = 4.0
    """Radius of the neighbours whose flow is computed with a point, in pixels."""

    def __init__(self, picture: Picture, shape: TrackableShape, settings: OpticalFlowFunction) -> None:
        self._settings = settings
        self._picture = picture
        self._points = np.asarray(shape.points, dtype=np.float64).reshape(-1, 2) - 0.5

    def advance(self, picture: Picture) -> Array | None:
        """Track them to the next image."""
        around = self._RADIUS * (_grid(np.array([-2.0, -2.0]), np.array([2.0, 2.0]), 3))
        asked = (self._points[:, None] + around).reshape(-1, 2)
        ends, good = flow(self._picture, picture, asked, _LARGEST_WINDOW)
        good = (good & self._picture.holds(asked)).reshape(len(self._points), -1)
        steps = (ends - asked).reshape(*good.shape, 2)
        found = np.array([mask.sum() * 2 > len(mask) for mask in good])
        points = self._points.copy()
        for index in np.flatnonzero(found):
            points[index] += np.median(steps[index][good[index]], axis=0)
            found[index] = self._looks_alike(picture, self._points[index], points[index])
        if found.sum() * 2 < len(points) or not found.any():
            return None
        if not found.all():
            motion = fit_similarity(self._points[found], points[found], turns=True)
            if motion is None:
                motion = _shift(np.median(points[found] - self._points[found], axis=0))
            points[~found] = moved(self._points[~found], motion)
        self._points, self._picture = points, picture
        return points

    def _looks_alike(self, picture: Picture, before: Array, after: Array) -> bool:
        reach = _LARGEST_WINDOW / 2
        look = Appearance(self._picture, (*(before - reach), *(before + reach)))
        likeness = look.likeness(look.look(picture, _shift(after - before)))
        return likeness >= self._settings.min_similarity


def _grid(low: Array, high: Array, count: int) -> Array:
    """A regular grid of points `[count * count, 2]` inside a box."""
    x, y = (np.linspace(start, end, count + 2)[1:-1] for start, end in zip(low, high, strict=True))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)


def _shift(step: Array) -> Array:
    matrix = np.eye(3)
    matrix[:2, 2] = step
    return matrix
