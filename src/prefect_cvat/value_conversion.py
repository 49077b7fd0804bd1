"""Converts coordinates and attribute values of models (numpy, tensors, nested lists) to CVAT's format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["attribute_string", "flat_numbers"]


def attribute_string(value: Any) -> Any:
    """Convert an attribute value to CVAT's format: `true`, `false`, `120`, or any other text.

    Args:
        value: A string, a boolean, a number (also of numpy), or a tensor with one of these.

    Returns:
        A string. Any other value is returned unchanged, and fails in pydantic's validation.
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
    """Flatten coordinates in lists, tuples, numpy arrays and tensors, also nested ones.

    Args:
        value: Coordinates, such as `[[x, y], ...]`, `[N, 1, 2]` (a contour of OpenCV) or `[1, 4]`. A bitmap,
            with several rows of more than two numbers, is not flattened.

    Returns:
        A flat list. Any other value is returned unchanged, and fails in pydantic's validation.
    """
    if type(value) is list and value and type(value[0]) is float:  # the fast path: nearly always
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
