"""A tracking function that returns something hostile, see `outputs.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import prefect_cvat.auto_annotation as cvataa
from hostile.outputs import GOOD, OUTPUTS


def _shape(type: Any = "rectangle", points: Any = GOOD) -> Any:
    """A shape that bypasses validation."""
    shape = cvataa.TrackableShape(type="rectangle", points=GOOD)
    object.__setattr__(shape, "type", type)
    object.__setattr__(shape, "points", points)
    return shape


RESULTS: dict[str, Callable[[], Any]] = {
    "one_box": _shape,
    "a_list": lambda: [_shape()],
    "another_type": lambda: _shape("polygon", [1, 1, 9, 1, 9, 9]),
    "a_type_that_is_none": lambda: _shape(None),
    "points_of_words": lambda: _shape(points=["a"] * 4),
    "points_none": lambda: _shape(points=None),
    "three_points": lambda: _shape(points=[1, 2, 3]),
    "points_nan": lambda: _shape(points=[float("nan")] * 4),
    "points_far_outside": lambda: _shape(points=[-900, -900, -800, -800]),
    "points_huge": lambda: _shape(points=[-1e300, -1e300, 1e300, 1e300]),
    "points_reversed": lambda: _shape(points=[25, 26, 5, 6]),
    "points_million": lambda: _shape(points=[1.0] * 10**6),
    **{
        name: OUTPUTS[name]
        for name in (
            "none",
            "a_number",
            "rude_result",
            "exits",
            "raises_long",
            "raises_surrogate",
            "recurses",
        )
    },
}


class _Function:
    def __init__(self, output: str) -> None:
        self._output = RESULTS[output]
        self.spec = cvataa.TrackingFunctionSpec(supported_shape_types={"rectangle"})

    def init_tracking_state(self, context: Any, image: Any, shape: Any) -> Any:
        image.load()
        return shape

    def track(self, context: Any, image: Any, state: Any) -> Any:
        image.load()
        return self._output()


def create(output: str = "one_box") -> _Function:
    """A function that follows a shape to where the name says."""
    return _Function(output)
