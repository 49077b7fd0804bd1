"""Parses the JSON of a response after estimating the memory that its objects will take.

A short text may describe many objects: `[[],[],...` takes 30 times its length in memory.
"""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from prefect_cvat.exceptions import ResponseTooLargeError

__all__ = ["MAX_JSON_BYTES", "MAX_LIST_BYTES", "parse_json"]

MAX_JSON_BYTES = 2**25
"""Maximum size of an ordinary response in bytes: a task, a page of a list."""

MAX_LIST_BYTES = 2**28
"""Maximum size in bytes of a response that grows with the task: frames, annotations."""

_MEMORY_PER_BYTE = 6
"""Maximum memory of the objects, as a multiple of the maximum size of the JSON."""


def parse_json(content: bytes, max_bytes: int) -> Any:
    """Parse JSON, unless its objects would take too much memory.

    Args:
        content: The JSON.
        max_bytes: Maximum size of the JSON in bytes; the objects may take six times as much.

    Raises:
        ResponseTooLargeError: The objects would take too much memory.
        ValueError: It is not JSON, or is nested more than 200 deep.
    """
    if 32 * len(content) > _MEMORY_PER_BYTE * max_bytes:  # smaller JSON cannot take too much
        memory = 40 * content.count(b",") + 88 * content.count(b"[") + 256 * content.count(b"{")
        if memory > _MEMORY_PER_BYTE * max_bytes:
            raise ResponseTooLargeError(
                f"JSON of {len(content)} bytes stands for objects of about {memory} bytes;"
                f" more than {_MEMORY_PER_BYTE * max_bytes} are not read"
            )
    return from_json(content)
