"""Reads the JSON of data/meta a piece at a time: that of a million frames has about 100 MB."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import IO, Any

from prefect_cvat.frame_table import MOST_FRAMES, FrameTable

__all__ = ["read_meta_json"]

MOST_CHARACTERS = 1_000_000
"""How many characters all values may have together that are read in one piece.

CVAT's have some 300, and the objects for `[],[],...` take 30 times as much memory as their text.
"""

_NUMBERS = ("deleted_frames", "included_frames")
"""Lists of as many numbers as there are frames, or fewer."""

_BLOCK = 2**18

_BLANKS = re.compile(r"[ \t\n\r]*")


def read_meta_json(file: IO[bytes]) -> Any:
    """Read data/meta of a task or a job.

    Args:
        file: Its JSON.

    Returns:
        What the JSON says, the list of `frames` as a `FrameTable`.

    Raises:
        ValueError: It is not JSON, or a frame is not what CVAT sends.
    """
    reader = _Reader(file)
    if reader.next_character() != "{":
        return reader.kept_value()
    meta: dict[str, Any] = {}
    for key in reader.items("{", "}"):
        if type(key) is not str:
            raise ValueError(f"a field is called {key!r}")
        reader.keep(len(key))
        reader.take(":")
        reader.next_character()
        begins_list = reader.next_character() == "["
        if key == "frames" and begins_list:
            meta[key] = _read_frames(reader)
        elif key in _NUMBERS and begins_list:
            meta[key] = _read_numbers(reader, key)
        else:
            meta[key] = reader.kept_value()
    reader.check_is_at_end()
    return meta


def _read_frames(reader: _Reader) -> FrameTable:
    frames = FrameTable()
    for frame in reader.items("[", "]"):
        if len(frames) == MOST_FRAMES:
            raise ValueError(f"frames: more than {MOST_FRAMES} frames are not read")
        frames.append_object(frame)
    return frames


def _read_numbers(reader: _Reader, name: str) -> list[Any]:
    numbers: list[Any] = []
    for number in reader.items("[", "]"):
        if type(number) is not int:
            raise ValueError(f"{name}.{len(numbers)}: should be a number, not {type(number).__name__}")
        if len(numbers) == MOST_FRAMES:
            raise ValueError(f"{name}: more than {MOST_FRAMES} numbers are not read")
        numbers.append(number)
    return numbers


class _Reader:
    """JSON, of which a window is in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        # raw_decode without its wrapper, which takes as long as most frames
        self._scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
        self._text = ""
        self._at = 0
        self._taken = 0  # characters that are not in the window any more
        self._kept = 0

    def next_character(self) -> str:
        """The next one that is not blank; empty at the end."""
        while True:
            match = _BLANKS.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_more():
                return ""

    def take(self, character: str) -> None:
        """Go past a character."""
        if (found := self.next_character()) != character:
            raise ValueError(f"{found or 'the end'!r} where {character!r} was expected")
        self._at += 1

    def items(self, begin: str, end: str) -> Iterator[Any]:
        """The values of a list, or the keys of an object of which the caller takes the values."""
        self.take(begin)
        if self.next_character() != end:
            while True:
                yield self.value()
                if self._text.startswith(",{", self._at):  # quicker, and nearly always so
                    self._at += 1
                    continue
                if self.next_character() == end:
                    break
                self.take(",")
                self.next_character()
        self.take(end)

    def value(self) -> Any:
        """Take a whole value, which begins here."""
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except (StopIteration, json.JSONDecodeError):
                if len(self._text) - self._at > MOST_CHARACTERS:
                    raise ValueError(f"a value has more than {MOST_CHARACTERS} characters") from None
                if not self._read_more():
                    raise ValueError(f"no JSON from {self._text[self._at : self._at + 20]!r} on") from None
            except RecursionError:
                raise ValueError("a value is nested too deeply") from None
            else:
                # a number that ends with the window may go on
                if end < len(self._text) or not self._read_more():
                    self._at = end
                    return value

    def kept_value(self) -> Any:
        """Take a whole value, which stays in memory."""
        before = self._taken + self._at
        value = self.value()
        self.keep(self._taken + self._at - before)
        return value

    def keep(self, characters: int) -> None:
        """Count characters of what stays in memory."""
        self._kept += characters
        if self._kept > MOST_CHARACTERS:
            raise ValueError(f"values other than lists of frames have more than {MOST_CHARACTERS} characters")

    def check_is_at_end(self) -> None:
        """Check that there is nothing more."""
        if found := self.next_character():
            raise ValueError(f"{found!r} where the end was expected")

    def _read_more(self) -> bool:
        """Read on; the window doubles, so that a long value is not tried again too often."""
        left = self._text[self._at :]
        block = self._file.read(max(_BLOCK, len(left)))
        self._taken += self._at
        self._text = left + self._decode(block, final=not block)
        self._at = 0
        return bool(block)
