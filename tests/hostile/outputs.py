"""An auto-annotation function that returns something hostile: `-p output=str:NAME` says what."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import prefect_cvat.auto_annotation as cvataa
from prefect_cvat.auto_annotation import mask, rectangle
from prefect_cvat.masks import encode_mask

W, H = 64, 48
GOOD = [5.0, 6.0, 25.0, 26.0]


class Rude:
    """Raises on every operation."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name} here")

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class LongWindedError(Exception):
    """Says more than anybody reads."""

    def __str__(self) -> str:
        return "\x1b[31m" + "z" * 10**6


def _raise(error: BaseException) -> Any:
    raise error


def _endless() -> Any:
    while True:
        yield 3


def _recurse() -> Any:
    return _recurse()


def _fields(**fields: Any) -> Any:
    """A rectangle that bypasses validation, as from a custom library."""
    shape = rectangle(0, GOOD)
    for name, value in fields.items():
        object.__setattr__(shape, name, value)
    return [shape]


def _warned() -> Any:
    warnings.warn("this function warns", stacklevel=1)
    sys.stdout.write("this function prints\n")
    return [rectangle(0, GOOD)]


def _moved() -> Any:
    os.chdir("/")
    return [rectangle(0, GOOD)]


OUTPUTS: dict[str, Callable[[], Any]] = {
    "one_box": lambda: [rectangle(0, GOOD)],
    "none": lambda: None,
    "a_number": lambda: 7,
    "text": lambda: "rectangle",
    "bytes": lambda: b"\x00\xff",
    "one_shape_bare": lambda: rectangle(0, GOOD),
    "a_dict": lambda: {"shapes": [rectangle(0, GOOD)]},
    "an_array": lambda: np.zeros((3, 4)),
    "a_large_array": lambda: np.zeros((4000, 3000), np.uint8),
    "list_of_none": lambda: [None],
    "list_of_lists": lambda: [[rectangle(0, GOOD)]],
    "list_of_dicts": lambda: [{"label_id": 0, "points": GOOD}],
    "rude_object": lambda: [Rude()],
    "rude_result": Rude,
    "endless_numbers": _endless,
    "generator_of_boxes": lambda: (rectangle(0, GOOD) for _ in range(1)),
    "exits": lambda: sys.exit(0),
    "exits_loudly": lambda: sys.exit("x" * 10**5),
    "interrupts": lambda: _raise(GeneratorExit()),
    "raises_long": lambda: _raise(LongWindedError()),
    "raises_base": lambda: _raise(BaseException("base")),
    "raises_unicode": lambda: _raise(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no")),
    "raises_memory": lambda: _raise(MemoryError()),
    "raises_stop": lambda: _raise(StopIteration()),
    "raises_group": lambda: _raise(ExceptionGroup("many", [ValueError("v" * 5000)] * 50)),
    "raises_escape": lambda: _raise(ValueError("\x1b[2J\r\n\x00\x07")),
    "raises_surrogate": lambda: _raise(ValueError("\ud83d")),
    "recurses": _recurse,
    "warns_and_prints": _warned,
    "changes_directory": _moved,
    "mask_array": lambda: [mask(0, np.ones((3000, 4000), bool))],
    "mask_empty": lambda: [mask(0, encode_mask(np.zeros((H, W), bool)))],
    "mask_too_long": lambda: [mask(0, [10**9, 0, 0, W - 1, H - 1])],
    "mask_negative": lambda: [mask(0, [-5, 3, 0, 0, 9, 9])],
    "mask_of_box_only": lambda: [mask(0, [0, 0, 9, 9])],
    "mask_of_another_frame": lambda: [mask(0, encode_mask(np.ones((480, 640), bool)))],
    "label_unknown": lambda: [rectangle(99, GOOD)],
    "label_text": lambda: _fields(label_id="car"),
    "label_none": lambda: _fields(label_id=None),
    "label_huge": lambda: _fields(label_id=10**40),
    "label_nan": lambda: _fields(label_id=float("nan")),
    "points_nan": lambda: _fields(points=[float("nan")] * 4),
    "points_infinite": lambda: _fields(points=[0, 0, float("inf"), 9]),
    "points_text": lambda: _fields(points=["a", "b", "c", "d"]),
    "points_none": lambda: _fields(points=None),
    "points_three": lambda: _fields(points=[1, 2, 3]),
    "points_million": lambda: _fields(points=[1.0] * 10**6),
    "points_array": lambda: _fields(points=np.array(GOOD, np.float32)),
    "points_nested": lambda: _fields(points=[[5, 6], [25, 26]]),
    "points_outside": lambda: _fields(points=[-900, -900, -800, -800]),
    "points_huge": lambda: _fields(points=[-1e300, -1e300, 1e300, 1e300]),
    "points_reversed": lambda: _fields(points=[25, 26, 5, 6]),
    "points_without_area": lambda: _fields(points=[5, 6, 5, 6]),
    "type_unknown": lambda: _fields(type="blob"),
    "type_none": lambda: _fields(type=None),
    "rotation_text": lambda: _fields(rotation="up"),
    "rotation_large": lambda: _fields(rotation=1e9),
    "attributes_text": lambda: _fields(attributes="red"),
    "attributes_unknown": lambda: _fields(attributes=[{"spec_id": 5, "value": "x"}]),
    "frame_other": lambda: _fields(frame=3),
    "source_long": lambda: _fields(source="s" * 10**5),
    "group_text": lambda: _fields(group="g"),
    "elements_deep": lambda: _fields(elements=[_fields(elements=_fields(elements=[3]))[0]]),
    "boxes_5000": lambda: [rectangle(0, GOOD) for _ in range(5_000)],
}


class _Function:
    def __init__(self, output: str) -> None:
        self._output = OUTPUTS[output]
        self.spec = cvataa.DetectionFunctionSpec(labels=[cvataa.label_spec("car", 0)])

    def detect(self, context: Any, image: Any) -> Any:
        image.load()
        return self._output()


def create(output: str = "one_box") -> _Function:
    """A function with the named output."""
    return _Function(output)
