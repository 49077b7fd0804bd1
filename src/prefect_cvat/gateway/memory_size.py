"""Estimates the memory of objects that functions make, for the bounds of caches."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import PIL.Image

__all__ = ["bytes_of"]

MAX_OBJECTS = 10_000
"""How many objects are looked at: arrays lie near the root, and a long list is no array."""


def bytes_of(value: Any) -> int:
    """Estimate the memory of an object in bytes: arrays, tensors and images in it, also in its attributes.

    What is there twice counts once; of more than `MAX_OBJECTS` objects the rest is left out.
    """
    seen = {id(value)}
    level = [value]
    total = 0
    while level and len(seen) < MAX_OBJECTS:
        parts: list[Any] = []
        for each in level:
            size = _array_bytes(each)
            total += sys.getsizeof(each, 0) if size is None else size
            if size is None:
                for part in islice(_parts(each), MAX_OBJECTS):
                    if id(part) not in seen and len(seen) < MAX_OBJECTS:
                        seen.add(id(part))
                        parts.append(part)
        level = parts
    return total


def _array_bytes(value: Any) -> int | None:
    """The memory of an image, or of an array of numpy or torch; None for any other object."""
    if isinstance(value, PIL.Image.Image):
        return 4 * value.width * value.height
    size = None if isinstance(value, type) else getattr(value, "nbytes", None)
    return size if isinstance(size, int) else None


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, str | bytes | int | float | type):
        return ()
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset):
        return value
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    attributes = getattr(value, "__dict__", {})
    return [*attributes.values(), *(getattr(value, name, None) for name in slots)]
