"""Coordinates and attribute values, however a model has them, in the form that CVAT wants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["attribute_string", "flat_numbers"]


def attribute_string(value: Any) -> Any:
    """Put the value of an attribute as CVAT has it: `true`, `false`, `120`, or any other text.

    Args:
        value: A string, a boolean, a number (also numpy's), or a tensor of one of these.

    Returns:
        A string; what is none of these stays as it is, for pydantic to refuse.
    """
    if isinstance(value, str):
        return value
    if getattr(value, "ndim", None) == 0:
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # CVAT's number attributes are whole
    return str(value) if isinstance(value, int | float) else value


def flat_numbers(value: Any) -> Any:
    """Take coordinates out of lists, tuples, numpy arrays and tensors, also nested ones.

    Points may be `[[x, y], ...]`, `(N, 1, 2)` as OpenCV's contours are, or `(1, 4)`.

    Args:
        value: Coordinates. A picture (a bitmap, more than two numbers in each of several rows) is none.

    Returns:
        A flat list; what is no list of coordinates stays as it is, for pydantic to refuse.
    """
    if type(value) is list and value and type(value[0]) is float:  # nearly always: keep this short
        return value
    if isinstance(value, str | bytes):
        return value
    if not isinstance(value, list):
        if hasattr(value, "tolist"):
            value = value.tolist()
        elif isinstance(value, Iterable):
            value = list(value)
    if not isinstance(value, list) or not value or type(value[0]) in (float, int):
        return value
    plain = [item.tolist() if hasattr(item, "tolist") else item for item in value]
    return _flat(plain)


def _flat(items: list[Any]) -> list[Any]:
    while items and isinstance(items[0], list | tuple):
        is_pairs = all(isinstance(item, list | tuple) and len(item) in (1, 2) for item in items)
        if len(items) > 1 and not is_pairs:
            return items
        if any(isinstance(number, bool) for item in items for number in item):
            return items
        items = [number for item in items for number in item]
    return items
