"""The seconds that a corrector needs for an annotation, with and without what a run wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_cvat.corrections.correction import Correction
from prefect_cvat.corrections.shape_changes import changed_keyframes, is_moved, moved_corners
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.iou import ComparableShape
from prefect_cvat.geometry.outlines import has_outline
from prefect_cvat.options.correction_options import CorrectionSeconds

__all__ = ["seconds_with_run", "seconds_without_run"]

_WITH_POINTS = frozenset({"points", "polyline"})


def seconds_without_run(correction: Correction, seconds: CorrectionSeconds) -> float:
    """The seconds to draw what is there now; 0 for a deleted annotation."""
    return 0.0 if correction.current is None else _draw(correction.current, seconds)


def seconds_with_run(correction: Correction, frame: Frame, seconds: CorrectionSeconds) -> float:
    """The seconds to look at what the run wrote and to correct it; to draw what it missed.

    Args:
        correction: The correction.
        frame: Its frame.
        seconds: The seconds of each action.
    """
    current = correction.current
    if current is None:
        return seconds.confirm + seconds.delete_shape
    if correction.kind == "drawn":
        return _draw(current, seconds)
    relabel = seconds.change_label * (correction.kind == "relabelled")
    if not correction.is_moved:
        return seconds.confirm + relabel
    if correction.written is None:  # by a run of an earlier version
        return seconds.confirm + relabel + seconds.move_edge
    return seconds.confirm + relabel + _move(correction.written, current, frame, seconds)


def _draw(annotation: Mapping[str, Any], seconds: CorrectionSeconds) -> float:
    """Draw an annotation; of a track, draw its first keyframe and move it to each of the others."""
    if "shapes" in annotation:
        keyframes = [shape for shape in annotation["shapes"] if not shape.get("outside")]
        return _draw(keyframes[0], seconds) + seconds.move_edge * (len(keyframes) - 1) if keyframes else 0.0
    kind = annotation.get("type")
    if kind is None:
        return seconds.add_tag
    if kind == "skeleton":
        visible = sum(not element.get("outside") for element in annotation.get("elements") or ())
        return seconds.draw_point * visible
    if kind in _WITH_POINTS:
        return seconds.draw_point * (len(annotation["points"]) // 2)
    return seconds.draw_outline if kind in ("polygon", "mask") else seconds.draw_box


def _move(
    written: Mapping[str, Any], current: Mapping[str, Any], frame: Frame, seconds: CorrectionSeconds
) -> float:
    """Move a shape to its place; never longer than to draw it.

    The outline of a polygon or a mask is drawn again as far as it differs: 1 - IoU of it.
    """
    if "shapes" in current:
        return seconds.move_edge * changed_keyframes(written, current)
    draw = _draw(current, seconds)
    if written["type"] != current["type"]:
        return draw
    if current["type"] in ("polygon", "mask") and has_outline(written) and has_outline(current):
        iou = ComparableShape(written, frame).iou(ComparableShape(current, frame))
        return min(max(seconds.move_edge, (1 - iou) * draw), draw)
    return min(seconds.move_edge * _drags(written, current), draw)


def _drags(written: Mapping[str, Any], current: Mapping[str, Any]) -> int:
    """The number of times that a person drags something."""
    kind = current["type"]
    before, now = written.get("points") or (), current.get("points") or ()
    if kind == "rectangle":
        is_turned = (written.get("rotation") or 0.0) != (current.get("rotation") or 0.0)
        return moved_corners(before, now) + is_turned
    if kind == "skeleton":
        others = {element["label_id"]: element for element in written.get("elements") or ()}
        return sum(
            element["label_id"] not in others or is_moved(others[element["label_id"]], element)
            for element in current["elements"]
        )
    if kind in _WITH_POINTS and len(before) == len(now):
        return sum(before[place : place + 2] != now[place : place + 2] for place in range(0, len(now), 2))
    return 1
