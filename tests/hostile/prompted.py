"""An interaction function that returns something hostile, see `outputs.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import prefect_cvat.auto_annotation as cvataa
from hostile.outputs import GOOD, OUTPUTS, H, W
from prefect_cvat.masks import encode_mask

DISC = encode_mask(np.hypot(*(np.mgrid[:H, :W] - 8.0)) < 5)


def _shape(type: str = "mask", points: Any = DISC, **fields: Any) -> Any:
    """A shape that bypasses validation."""
    shape = cvataa.InteractionResultShape(type="mask", points=DISC)
    for name, value in {"type": type, "points": points, **fields}.items():
        object.__setattr__(shape, name, value)
    return [shape]


RESULTS: dict[str, Callable[[], Any]] = {
    "one_box": _shape,  # what no attack needs a name for
    "two_masks": lambda: [*_shape(), *_shape()],
    "a_rectangle": lambda: _shape("rectangle", GOOD),
    "a_type_that_is_none": lambda: _shape(None),
    "a_mask_of_nothing": lambda: _shape(points=encode_mask(np.zeros((H, W), bool))),
    "a_mask_of_another_image": lambda: _shape(points=encode_mask(np.ones((480, 640), bool))),
    "a_mask_that_is_too_long": lambda: _shape(points=[10**9, 0, 0, W - 1, H - 1]),
    "a_mask_that_is_an_array": lambda: _shape(points=np.ones((3000, 4000), bool)),
    "a_mask_of_words": lambda: _shape(points=["a"] * 6),
    "a_mask_of_one_number": lambda: _shape(points=[3]),
    "a_mask_with_nan": lambda: _shape(points=[float("nan")] * 6),
    "a_polygon_of_two_points": lambda: _shape("polygon", [1, 1, 2, 2]),
    "a_polygon_outside": lambda: _shape("polygon", [-90, -90, -80, -90, -80, -80]),
    "a_polygon_without_end": lambda: _shape("polygon", [0, 0, float("inf"), 0, 9, 9]),
    "a_polygon_of_a_million": lambda: _shape("polygon", [float(i % 40) for i in range(10**6)]),
    "attributes_of_words": lambda: _shape(attributes="sure"),
    "a_confidence_of_words": lambda: _shape(attributes=[{"spec_id": 0, "value": "sure"}]),
    **{
        name: OUTPUTS[name]
        for name in (
            "none",
            "a_number",
            "list_of_none",
            "rude_object",
            "exits",
            "raises_long",
            "raises_escape",
        )
    },
}


class _Function:
    def __init__(self, output: str) -> None:
        self._output = RESULTS[output]
        self.spec = cvataa.InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)

    def detect(self, context: Any, image: Any, prompts: Any) -> Any:
        image.load()
        return self._output()


def create(output: str = "one_box") -> _Function:
    """A function with the named output."""
    return _Function(output)
