"""Results of an interaction function as the answer that CVAT's pages take from an interactor.

Facts of CVAT 2.73: the page takes masks only, as run lengths, and makes polygons of them itself. The
confidence is a text in the attribute 0. The answer is not checked on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from prefect_cvat.auto_annotation.interface import InteractionResultAttributes
from prefect_cvat.geometry.clip_at_image_edge import clip_shape
from prefect_cvat.geometry.outlines import corners_of
from prefect_cvat.masks import encode_mask, polygon_to_mask
from prefect_cvat.models import LabeledShapeRequest, ShapeType

__all__ = ["interactor_answer"]

_OUTLINED = {ShapeType.RECTANGLE, ShapeType.POLYGON, ShapeType.ELLIPSE}


def interactor_answer(
    results: Iterable[tuple[LabeledShapeRequest, float | None]],
    size: tuple[int, int],
    losses: Counter[str],
) -> dict[str, Any]:
    """Translate checked results.

    Args:
        results: Shapes with their confidence, 0 to 1. Rectangles, polygons and ellipses become masks.
        size: Width and height of the image in pixels; shapes are clipped at its edges.
        losses: Counts what CVAT does not get, by what it is.

    Returns:
        The answer; it has no shapes if nothing was found.
    """
    shapes = []
    for shape, confidence in results:
        for points in _masks(shape, size, losses):
            found: dict[str, Any] = {"type": "mask", "points": list(map(int, points))}
            if confidence is not None:
                value = f"{confidence:.6g}"
                found["attributes"] = [
                    {"spec_id": int(InteractionResultAttributes.CONFIDENCE), "value": value}
                ]
            shapes.append(found)
    return {"shapes": shapes}


def _masks(shape: LabeledShapeRequest, size: tuple[int, int], losses: Counter[str]) -> Iterator[list[float]]:
    if shape.type is ShapeType.MASK:
        parts, clipping = clip_shape(shape, *size)
        if clipping is not None:
            losses[clipping.value] += 1
        yield from parts
    elif shape.type in _OUTLINED:
        outline = corners_of({"type": shape.type.value, "points": shape.points, "rotation": shape.rotation})
        bitmap = polygon_to_mask(outline, image_width=size[0], image_height=size[1])
        if bitmap.any():
            yield encode_mask(bitmap)
        else:
            losses["empty"] += 1
    else:
        losses[f"of type {shape.type.value}, which cannot be a mask"] += 1
