"""Reads the long lists of a JSON object piece by piece, from a file and within bounds.

A response may list millions of annotations or frames, too many to hold as objects. A parser has no limits of
its own: a long run of `[],[],[]` takes 30 times its length in memory, nested brackets even more. So the file
is read once, block by block: counting brackets finds the ends of the items, and whole items are parsed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from pydantic_core import from_json

from prefect_cvat.exceptions import ResponseTooLargeError

__all__ = ["MAX_DEPTH", "ItemLimits", "JsonListReader"]

MAX_DEPTH = 64
"""Maximum number of open brackets. CVAT's annotations have ten: attributes of elements of tracks."""

_BLOCK_BYTES = 2**16
_LIST_DEPTH = 2
"""How many brackets are open between the items of a list: two in `{"shapes": [`."""

_LIST_BEGIN = re.compile(rb'"([^"\\]*)"\s*:\s*\[\Z')
_MAX_KEY_BYTES = 200

_STEPS = np.zeros(256, np.int8)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1
_QUOTE = ord('"')
_MARKS = bytes(letter in b'[]{}"' for letter in range(256))

_Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemLimits:
    """How large the parts of an object may be.

    Attributes:
        name: The name of an item in errors.
        max_bytes: Maximum size of an item in bytes.
        max_brackets: Maximum number of brackets in an item, opening and closing ones.
        max_commas: Maximum number of commas in an item.
        max_rest_bytes: Maximum size of everything outside the lists in bytes.
    """

    name: str
    max_bytes: int
    max_brackets: int
    max_commas: int
    max_rest_bytes: int


class JsonListReader:
    """Reads some lists of a JSON object item by item, and then the rest of the object.

    Args:
        file: The JSON; it is read from its beginning.
        keys: The keys of the lists.
        limits: How large items and the rest may be.
        skip_others: Leave other lists and objects empty in `rest`, without parsing them.
    """

    def __init__(
        self, file: IO[bytes], keys: Collection[str], limits: ItemLimits, *, skip_others: bool = False
    ) -> None:
        self._file = file
        self._keys = {key.encode(): key for key in keys}
        self._limits = limits
        self._skip_others = skip_others
        self._rest = bytearray()
        self._key: str | None = None  # of the list that is being read
        self._is_first = True
        self._pending = bytearray()  # the beginning of an item whose end was not read yet
        self._pending_brackets = 0
        self._pending_commas = 0

    def items(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield the items in the order of the file, several at a time, with the key of their list.

        Raises:
            ResponseTooLargeError: An item is too large, or too many brackets are open.
            ValueError: It is not JSON.
        """
        self._file.seek(0)
        depth, is_in_string, held = 0, False, b""
        while block := self._file.read(_BLOCK_BYTES):
            text = held + block
            # an escape that the end of the block cuts in two is left for the next block
            held = b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""
            if held:
                text = text[:-1]
            places, depths, is_in_string = _find_brackets(text, depth, is_in_string)
            if len(depths) and depths.max() > MAX_DEPTH:
                raise ResponseTooLargeError(f"more than {MAX_DEPTH} brackets are open at a time")
            yield from self._take_block(text, places, depths, depth, is_in_string)
            depth = int(depths[-1]) if len(depths) else depth
            self._check_limits()
        if depth or held or is_in_string:
            raise ValueError("the JSON ends before its end")

    def rest(self) -> Any:
        """The object without the items, to be read after them: its lists are empty.

        Raises:
            ValueError: It is not JSON.
        """
        return from_json(bytes(self._rest))

    def _take_block(
        self, text: bytes, places: _Array, depths: _Array, depth: int, is_in_string: bool
    ) -> Iterator[tuple[str, list[Any]]]:
        before = np.concatenate(([depth], depths[:-1])) if len(depths) else depths
        is_edge = (before + depths == 2 * _LIST_DEPTH - 1) & (np.maximum(before, depths) == _LIST_DEPTH)
        begin = first = 0
        for edge in np.flatnonzero(is_edge):
            place = int(places[edge])
            if depths[edge] == _LIST_DEPTH:
                self._rest += text[begin : place + 1]
                self._begin_list()
                begin = place + 1
            else:
                yield from self._take_items(text[begin:place], is_whole=True)
                self._key = None
                begin = place
            first = int(edge) + 1
        content = text[begin:]
        if (depths[-1] if len(depths) else depth) < _LIST_DEPTH:
            self._rest += content
            return
        ends = np.flatnonzero(depths[first:] == _LIST_DEPTH)
        end = int(places[first + ends[-1]]) + 1 - begin if len(ends) else 0
        if not is_in_string and (depths[-1] if len(depths) else depth) == _LIST_DEPTH:
            # numbers have no brackets: the last of them ends before the last comma outside strings
            end = max(end, content.rfind(b",", max(end, content.rfind(b'"') + 1)))
        if end:
            yield from self._take_items(content[:end], is_whole=False)
            self._pending_brackets = len(depths) - first - (int(ends[-1]) + 1 if len(ends) else 0)
        else:
            self._pending_brackets += len(depths) - first
        self._keep_pending(content[end:])

    def _begin_list(self) -> None:
        match = _LIST_BEGIN.search(self._rest[-_MAX_KEY_BYTES:])
        self._key = self._keys.get(bytes(match[1])) if match else None
        self._is_first = True
        self._pending.clear()
        self._pending_brackets = self._pending_commas = 0

    def _keep_pending(self, content: bytes) -> None:
        """Keep what belongs to an item whose end is not read yet."""
        if self._key is not None:
            self._pending += content
            self._pending_commas += content.count(b",")
        elif not self._skip_others:
            self._rest += content

    def _take_items(self, content: bytes, *, is_whole: bool) -> Iterator[tuple[str, list[Any]]]:
        """Parse whole items: what is pending, and the content after it.

        Args:
            content: Ends with the end of an item.
            is_whole: Whether the list ends here.
        """
        if self._key is None:
            self._keep_pending(content)
            return
        text = bytes(self._pending) + content
        self._pending.clear()
        self._pending_commas = 0
        if not self._is_first and (text := text.lstrip()):
            if not text.startswith(b","):
                raise ValueError(f"{self._key}: no comma between two items")
            text = text[1:]
            if not text.strip():
                raise ValueError(f"{self._key}: no item after a comma")
        if items := from_json(b"[%b]" % text):
            self._is_first = False
            yield self._key, items
        elif not is_whole:
            raise ValueError(f"{self._key}: no item before a comma")

    def _check_limits(self) -> None:
        limits = self._limits
        if (
            len(self._pending) > limits.max_bytes
            or self._pending_brackets > limits.max_brackets
            or self._pending_commas > limits.max_commas
        ):
            raise ResponseTooLargeError(
                f"one {limits.name} has more than {limits.max_bytes} bytes,"
                f" {limits.max_brackets} brackets, or {limits.max_commas} commas"
            )
        if len(self._rest) > limits.max_rest_bytes:
            raise ResponseTooLargeError(
                f"the fields other than lists of {limits.name}s have more than {limits.max_rest_bytes} bytes"
            )


def _find_brackets(text: bytes, depth: int, is_in_string: bool) -> tuple[_Array, _Array, bool]:
    """Find the brackets outside strings.

    Returns:
        Their positions, the number of open brackets after each, and whether the text ends within a string.
    """
    if b"\\" in text:
        text = text.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    letters = np.frombuffer(text, np.uint8)
    places = np.flatnonzero(np.frombuffer(text.translate(_MARKS), np.bool_))
    marks = letters[places]
    is_quote = marks == _QUOTE
    quotes = np.cumsum(is_quote, dtype=np.int32) + is_in_string
    places = places[~is_quote & (quotes % 2 == 0)]
    is_in_string = bool(quotes[-1] % 2) if len(quotes) else is_in_string
    return places, depth + np.cumsum(_STEPS[letters[places]], dtype=np.int32), is_in_string
