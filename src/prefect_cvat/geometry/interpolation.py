"""The shape that a track has on a frame between two keyframes, as CVAT 2.73 interpolates it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["interpolate", "is_interpolated", "shortest_rotation"]


def interpolate(track: Mapping[str, Any], frame: int) -> dict[str, Any] | None:
    """Compute the shape that a track has on a frame.

    Args:
        track: A track as the server's JSON object, its keyframes in ascending order.
        frame: The frame's number. After the last keyframe the shape stays as it is there.

    Returns:
        The shape with its `label_id`; a skeleton with those of its `elements` that are not outside. None if
        the track begins after this frame or is outside on it.
    """
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    for shape in track["shapes"]:
        if shape["frame"] > frame:
            after = shape
            break
        before = shape
    if before is None or before["outside"]:
        return None
    result = {**before, "frame": frame, "label_id": track["label_id"]}
    points = before.get("points") or ()
    if after is not None and points and is_interpolated(before["type"], len(points)):
        fraction = (frame - before["frame"]) / (after["frame"] - before["frame"])
        result["points"] = [a + (b - a) * fraction for a, b in zip(points, after["points"], strict=True)]
        rotation = shortest_rotation(after["rotation"] - before["rotation"])
        result["rotation"] = (before["rotation"] + rotation * fraction) % 360
    if before["type"] == "skeleton":
        elements = [interpolate(element, frame) for element in track["elements"]]
        result["elements"] = [element for element in elements if element is not None]
    return result


def is_interpolated(shape_type: str, count: int) -> bool:
    """Whether CVAT 2.73 interpolates linearly between the keyframes of a shape.

    It does so for a single point, but not for several. It matches polylines and polygons along their length,
    which may connect corners that do not correspond; so they are not interpolated here. Masks are never
    interpolated.

    Args:
        shape_type: One of `ShapeType`.
        count: How many numbers its `points` has.
    """
    return shape_type in ("rectangle", "ellipse", "cuboid", "skeleton") or (
        shape_type == "points" and count == 2
    )


def shortest_rotation(degrees: float) -> float:
    """The equivalent rotation from -180 to below 180 degrees."""
    return (degrees + 180) % 360 - 180
