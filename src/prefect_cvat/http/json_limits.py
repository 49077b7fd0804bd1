"""How deep and how large the JSON of an answer may be, found out before it is parsed.

A parser makes objects of what it reads, and a short text may stand for many of them: `[[],[],...` takes
30 times its length in memory, and brackets within brackets take more the deeper they are.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
from pydantic_core import from_json

from prefect_cvat.exceptions import AnswerTooLargeError

__all__ = ["MOST_JSON_BYTES", "MOST_LIST_BYTES", "check_annotations", "parse_json"]

MOST_JSON_BYTES = 2**25
"""Maximum size of an ordinary answer in bytes: a task, a page of a list."""

MOST_LIST_BYTES = 2**28
"""Maximum size in bytes of an answer that grows with the task: its frames, its annotations."""

MOST_DEPTH = 64
"""How many brackets may be open at a time. CVAT's annotations have ten: attributes of elements of tracks."""

MOST_ANNOTATION_BYTES = 24 * 2**20
"""Maximum size of one annotation in bytes: a track of 80,000 keyframes."""

MOST_ANNOTATION_BRACKETS = 2_000_000
"""The most brackets of one annotation, both the opening and the closing ones."""

MOST_ANNOTATION_COMMAS = 2_000_000
"""The most commas of one annotation: of its points, each of which takes 32 bytes of memory, and as much again
where it is checked."""

_MEMORY_PER_BYTE = 6
"""How many bytes of memory the objects may take for each byte that an answer may have."""

_BLOCK_BYTES = 2**20
_ALL_BUT_BRACKETS_AND_QUOTES = bytes(set(range(256)) - set(b'[]{}"'))
_STEPS = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1


def parse_json(content: bytes, most_bytes: int) -> Any:
    """Parse JSON, unless the objects that it stands for would take too much memory.

    Args:
        content: The JSON.
        most_bytes: How many bytes it may have; the objects may take six times as much.

    Raises:
        AnswerTooLargeError: It stands for too many objects.
        ValueError: It is not JSON, or has more than 200 brackets open at a time.
    """
    if 32 * len(content) > _MEMORY_PER_BYTE * most_bytes:  # else it cannot take too much, whatever it is
        memory = 40 * content.count(b",") + 88 * content.count(b"[") + 256 * content.count(b"{")
        if memory > _MEMORY_PER_BYTE * most_bytes:
            raise AnswerTooLargeError(
                f"JSON of {len(content)} bytes stands for objects of about {memory} bytes;"
                f" more than {_MEMORY_PER_BYTE * most_bytes} are not read"
            )
    return from_json(content)


def check_annotations(file: IO[bytes]) -> None:
    """Check annotations against the bounds, before a parser that has none of its own reads them one by one.

    Args:
        file: The JSON of an answer; it is read from its beginning to its end.

    Raises:
        AnswerTooLargeError: Too many brackets are open at a time, or one annotation is too large.
    """
    file.seek(0)
    depth, bytes_of_one, brackets_of_one, commas_of_one = 0, 0, 0, 0
    is_in_string = False
    held = b""
    while block := file.read(_BLOCK_BYTES):
        text = held + block
        # an escape that the end of the block cuts in two is left for the next one
        held = b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""
        if held:
            text = text[:-1]
        depths, is_in_string = _depths(text, depth, is_in_string)
        ends = np.flatnonzero(depths <= 2)  # of what is in a list of annotations: `{"shapes": [{...}, ...`
        if len(ends):
            bytes_of_one = commas_of_one = 0
            spans = np.diff(ends, prepend=-1 - brackets_of_one, append=len(depths))
            most_brackets = int(spans.max())
            brackets_of_one = int(spans[-1])
        else:
            bytes_of_one += len(block)
            commas_of_one += block.count(b",")
            brackets_of_one += len(depths)
            most_brackets = brackets_of_one
        if len(depths):
            depth = int(depths[-1])
            if depths.max() > MOST_DEPTH:
                raise AnswerTooLargeError(f"more than {MOST_DEPTH} brackets are open at a time")
        if (
            most_brackets > MOST_ANNOTATION_BRACKETS
            or bytes_of_one > MOST_ANNOTATION_BYTES
            or commas_of_one > MOST_ANNOTATION_COMMAS
        ):
            raise AnswerTooLargeError(
                f"one annotation has more than {MOST_ANNOTATION_BYTES} bytes,"
                f" {MOST_ANNOTATION_BRACKETS} brackets, or {MOST_ANNOTATION_COMMAS} commas"
            )
    file.seek(0)


def _depths(text: bytes, depth: int, is_in_string: bool) -> tuple[np.ndarray[Any, np.dtype[np.int32]], bool]:
    """How many brackets are open after each bracket of a text, and whether it ends within a string."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = text.translate(None, _ALL_BUT_BRACKETS_AND_QUOTES)
    if is_in_string:
        marks = b'"' + marks
    marks = marks.replace(b'""', b"")  # strings without brackets; two that touch become one, which is as good
    steps = _STEPS[np.frombuffer(marks, np.uint8)]
    if b'"' in marks:
        quotes = np.frombuffer(marks, np.uint8) == ord('"')
        inside = np.logical_xor.accumulate(quotes)
        is_in_string = bool(inside[-1])
        steps = steps[~(inside | quotes)]
    else:
        is_in_string = False
    return depth + np.cumsum(steps, dtype=np.int32), is_in_string
