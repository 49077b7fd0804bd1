"""The functions that the runs of the soak are given: they find what findings.py says."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    TrackableShape,
    TrackingFunctionSpec,
    checkbox_attribute_spec,
    keypoint,
    keypoint_spec,
    label_spec,
    polygon,
    rectangle,
    select_attribute_spec,
    skeleton,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.models import AttributeValRequest
from soak.findings import Json, detections, detections_of_movers, followed, refined

SHADE = 10
"""The red of an image is a multiple of its frame number."""


def labels() -> list[Any]:
    return [
        label_spec(
            "car",
            1,
            attributes=[
                select_attribute_spec("size", 11, list("sml"), default_value="m"),
                checkbox_attribute_spec("shy", 12, default_value="false"),
            ],
        ),
        label_spec("person", 2),
        label_spec("scene", 3),
        skeleton_label_spec("body", 4, [keypoint_spec("nose", 41), keypoint_spec("tail", 42)], svg=""),
    ]


def function(kind: str, key: str, frames: int, *, fails_on: int | None, seconds: float) -> Any:
    """A function for a kind of run.

    Args:
        kind: The kind of run.
        key: Of the schedule.
        frames: How many the task has.
        fails_on: The number on the image (or in its name) on which it breaks its contract.
        seconds: How long it takes for an image.
    """
    match kind:
        case "follow":
            return _Follower(fails_on, seconds)
        case "refine":
            return _Refiner(fails_on, seconds)
        case "track":
            return _detector(
                key, lambda name: detections_of_movers(key, frames, int(name[:2])), fails_on, seconds
            )
    return _detector(key, lambda name: detections(key, name), fails_on, seconds)


def _detector(key: str, find: Callable[[str], list[Json]], fails_on: int | None, seconds: float) -> Any:
    def detect(context: Any, _image: Any) -> list[Any]:
        time.sleep(seconds)
        if fails_on is not None and int(context.frame_name[:2]) == fails_on:
            raise ZeroDivisionError("told to")
        return [_annotation(item) for item in find(context.frame_name)]

    return SimpleNamespace(spec=DetectionFunctionSpec(labels=labels()), detect=detect, version=key)


def _annotation(item: Json) -> Any:
    match item["kind"]:
        case "rectangle":
            values = [AttributeValRequest(spec_id=11, value=v) for v in item["attributes"].values()]
            return rectangle(
                1 if item["label"] == "car" else 2, item["points"], score=item["score"], attributes=values
            )
        case "polygon":
            return polygon(2, item["points"], score=item["score"])
        case "tag":
            return tag(3)
        case _:
            elements = item["elements"]
            parts = [keypoint(41, elements["nose"]), keypoint(42, elements["tail"])]
            return skeleton(4, parts, score=item["score"])


class _Follower:
    """Moves a shape to the right from frame to frame, and loses it after some."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})
    version = "1"

    def __init__(self, fails_on: int | None, seconds: float) -> None:
        self._fails_on, self._seconds = fails_on, seconds

    def preprocess_image(self, _context: Any, image: Any) -> int:
        time.sleep(self._seconds)
        number: int = image.convert("RGB").getpixel((0, 0))[0] // SHADE
        if number == self._fails_on:
            raise ZeroDivisionError("told to")
        return number

    def init_tracking_state(self, _context: Any, number: int, shape: Any) -> tuple[int, list[float]]:
        return number, list(shape.points)

    def track(self, _context: Any, number: int, state: tuple[int, list[float]]) -> Any:
        first, points = state
        found = followed(points, number - first)
        return None if found is None else TrackableShape(type="rectangle", points=found)


class _Refiner:
    """Finds a diamond in a box."""

    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)
    version = "1"

    def __init__(self, fails_on: int | None, seconds: float) -> None:
        self._fails_on, self._seconds = fails_on, seconds

    def detect(self, _context: Any, image: Any, prompts: Any) -> list[Any]:
        time.sleep(self._seconds)
        if image.convert("RGB").getpixel((0, 0))[0] // SHADE == self._fails_on:
            raise ZeroDivisionError("told to")
        (left, top), (right, bottom) = prompts.bounding_box
        found = refined([left, top, right, bottom])
        return [] if found is None else [InteractionResultShape(type="polygon", points=found)]
