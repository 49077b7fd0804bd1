"""How an annotation differs from what a run wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_cvat.geometry.interpolation import interpolate

__all__ = ["changed_keyframes", "is_moved", "moved_corners"]

TOLERANCE = 0.5
"""Pixels, and degrees of rotation. Half a pixel cannot be seen, and no person moves a shape by less."""


def is_moved(written: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Whether the outline of a shape, or a keyframe of a track, was changed; never of a tag."""
    if "shapes" in current:
        return bool(changed_keyframes(written, current))
    if "type" not in current:
        return False
    return _differ(written, current)


def changed_keyframes(written: Mapping[str, Any], current: Mapping[str, Any]) -> int:
    """The number of keyframes of a track that somebody has added or changed.

    A keyframe with the shape that the written track has on this frame is not changed. Frames on which the
    track no longer is, and the keyframe that hides it there, count as one change.
    """
    parts = (
        current,
        *(current.get("elements") or ()),
    )  # the keypoints of a skeleton have keyframes of their own
    changed = 0
    was_hidden = False
    for frame in sorted({int(shape["frame"]) for part in parts for shape in part["shapes"]}):
        before, now = interpolate(written, frame), interpolate(current, frame)
        if now is None:
            changed += before is not None and not was_hidden
        elif before is None or _differ(before, now):
            changed += 1
        was_hidden = now is None
    return changed


def moved_corners(written: Sequence[float], current: Sequence[float]) -> int:
    """The number of times that a person drags to make one upright rectangle of another: 0, 1 or 2.

    A shift of the whole rectangle is one, and so is a corner, which moves two edges.

    Args:
        written: Left, top, right, bottom, in pixels.
        current: Likewise.
    """
    left, top, right, bottom = (now - then for then, now in zip(written, current, strict=True))
    horizontal = [abs(left) > TOLERANCE, abs(right) > TOLERANCE]
    vertical = [abs(top) > TOLERANCE, abs(bottom) > TOLERANCE]
    is_shift = abs(left - right) <= TOLERANCE and abs(top - bottom) <= TOLERANCE
    drags = max(sum(horizontal), sum(vertical))
    return min(drags, 1) if is_shift else drags


def _differ(written: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    if written["type"] != current["type"]:
        return True
    elements = _elements(current)
    if elements.keys() != _elements(written).keys():
        return True
    if any(_differ(element, elements[label]) for label, element in _elements(written).items()):
        return True
    if bool(written.get("outside")) != bool(current.get("outside")):
        return True
    if current.get("outside"):
        return False
    before, now = written.get("points") or (), current.get("points") or ()
    if current["type"] == "mask":  # run lengths: only the whole can be compared
        return list(map(round, before)) != list(map(round, now))
    turn = abs((written.get("rotation") or 0.0) - (current.get("rotation") or 0.0)) % 360
    if min(turn, 360 - turn) > TOLERANCE or len(before) != len(now):
        return True
    return any(abs(one - other) > TOLERANCE for one, other in zip(before, now, strict=True))


def _elements(shape: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    return {element["label_id"]: element for element in shape.get("elements") or ()}
