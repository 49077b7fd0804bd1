"""Frames that two jobs share: each job has its own copy of a shape, and the task has one."""

from collections.abc import Sequence

from prefect_cvat.sandbox.api.reply import Json

MIN_SIMILARITY = 0.5


def merge_shared_frame(earlier: Sequence[Json], later: Sequence[Json]) -> list[Json]:
    """Merge the annotations that two jobs have on a shared frame.

    Args:
        earlier: Tags or shapes on the frame in the first job.
        later: Those in the second job.

    Returns:
        All of the first job, and those of the second job without an equal one in the first.
    """
    kept = list(earlier)
    free = list(earlier)
    for item in later:
        duplicate = max(free, key=lambda other: similarity(item, other), default=None)
        if duplicate is not None and similarity(item, duplicate) >= MIN_SIMILARITY:
            free.remove(duplicate)
        else:
            kept.append(item)
    return kept


def similarity(one: Json, other: Json) -> float:
    """Similarity of two tags or shapes, 0 to 1: the IoU of their boxes if label and type are equal."""
    if one["label_id"] != other["label_id"] or one.get("type") != other.get("type"):
        return 0
    if one.get("type") is None:
        return 1
    a, b = _coordinates(one), _coordinates(other)
    if a == b:
        return 1
    if one["type"] in ("points", "mask") or not a or not b:
        return 0
    return _intersection_over_union(_box(a), _box(b))


def _coordinates(shape: Json) -> list[float]:
    own = list(shape.get("points") or [])
    for element in sorted(shape.get("elements") or [], key=lambda item: (item["label_id"], item["points"])):
        own.extend(element.get("points") or [])
    return own


def _box(points: Sequence[float]) -> tuple[float, float, float, float]:
    xs, ys = points[::2], points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _intersection_over_union(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union else 0
