"""The region of interest (`roi`) of a call: the part of the image that a function gets."""

import io
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from prefect_cvat.sandbox.annotations.annotation_body import Annotations
from prefect_cvat.sandbox.api.reply import Json, bad_request

Region = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


def read_region(given: Any, sizes: Iterable[tuple[int, int]]) -> Region | None:
    """Read the region of a request.

    Args:
        given: What the caller sent; None for the whole image.
        sizes: Width and height of the images.

    Raises:
        ApiError: 400 if it has another form, or is not inside of each image.
    """
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 4 or any(type(number) is not int for number in given):
        raise bad_request(["ROI must contain four integer coordinates: [xtl, ytl, xbr, ybr]"])
    left, top, right, bottom = given
    if not all(0 <= left < right <= width and 0 <= top < bottom <= height for width, height in sizes):
        raise bad_request(["ROI is outside the image"])
    return left, top, right, bottom


def crop(content: bytes, region: Region | None) -> bytes:
    """Cut the region out of an image file; the format stays the same."""
    if region is None:
        return content
    with Image.open(io.BytesIO(content)) as image:  # noqa: TID251 (the server has checked it)
        buffer = io.BytesIO()
        image.crop(region).save(buffer, image.format)
    return buffer.getvalue()


def move_back(annotations: Annotations, region: Region | None) -> Annotations:
    """Move the shapes of a region to their places in the image."""
    if region is None:
        return annotations
    for shape in annotations.shapes:
        for part in (shape, *shape.get("elements", ())):
            part["points"] = move(part["type"], part.get("points", []), region)
        if shape["type"] == "skeleton":
            shape.pop("points")
    return annotations


def move(shape_type: str, points: Sequence[float], region: Region) -> list[float]:
    """Move the points of a shape; of a mask, only its box."""
    fixed = len(points) - 4 if shape_type == "mask" else 0
    places = points[fixed:]
    return [*points[:fixed], *(place + region[index % 2] for index, place in enumerate(places))]


def into_region(pairs: Sequence[Sequence[float]] | None, region: Region | None) -> Any:
    """Move the points of prompts from the image into the region."""
    if pairs is None or region is None:
        return pairs
    return [[x - region[0], y - region[1]] for x, y in pairs]


def move_interaction(answer: Any, region: Region | None, size: tuple[int, int]) -> Any:
    """Move what an interactor answers to its place in the image: shapes, or a mask of all pixels.

    Raises:
        ValueError: The mask does not have the size of the region; CVAT answers 500.
    """
    if region is None or not isinstance(answer, dict):
        return answer
    moved: Json = dict(answer)
    if "shapes" in answer:
        moved["shapes"] = [
            {**shape, "points": move(shape["type"], shape["points"], region)} for shape in answer["shapes"]
        ]
    if "mask" in answer:
        moved["mask"] = _on_whole_image(answer["mask"], region, size)
    return moved


def _on_whole_image(
    rows: Sequence[Sequence[float]], region: Region, size: tuple[int, int]
) -> list[list[float]]:
    left, top, right, bottom = region
    if len(rows) != bottom - top or any(len(row) != right - left for row in rows):
        raise ValueError("the mask does not have the size of the region")
    width, height = size
    whole: list[list[float]] = [[0] * width for _ in range(height)]
    for y, row in enumerate(rows, start=top):
        whole[y][left:right] = row
    return whole
