"""Temporary files that stay in memory while they are small: creating one takes longer than filling it."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MemoryShare", "SpooledFile"]

MAX_FILE = 2**16
"""Maximum size in bytes of a file in memory."""

MAX_MEMORY = 2**23
"""Maximum number of bytes that the files of one `MemoryShare` have in memory together."""


class MemoryShare:
    """The memory that several files may take together. May be used from several threads."""

    def __init__(self) -> None:
        self._left = MAX_MEMORY
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Take some bytes, if so many are left; return whether they were."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._left += size


class SpooledFile:
    """A file to which bytes are appended: in memory while it is small and its share allows, then on disk.

    Args:
        path: Where it is on disk.
        share: The memory that it may take, with others; None for none.
    """

    __slots__ = ("_held", "_share", "_size", "path")

    def __init__(self, path: Path, share: MemoryShare | None = None) -> None:
        self.path = path
        self._share = share
        self._held: list[bytes] = []
        self._size = 0

    @property
    def size(self) -> int:
        """Its number of bytes."""
        return self._size

    def append(self, data: bytes) -> None:
        """Append bytes, or none on an error.

        Raises:
            OSError: They cannot be written to disk.
        """
        if not data:
            return
        if self._stays_in_memory(len(data)):
            self._held.append(data)
        elif self._held:
            self._write(b"".join((*self._held, data)), 0)
            self._release()
        else:
            self._write(data, self._size)
        self._size += len(data)

    def read(self) -> bytes:
        """All bytes."""
        return b"".join(self._held) if self._held or not self._size else self.path.read_bytes()

    def lines(self) -> Iterator[bytes]:
        """The lines, each with its line break."""
        if self._held or not self._size:
            yield from io.BytesIO(self.read())
            return
        with self.path.open("rb") as file:
            yield from file

    def clear(self) -> None:
        """Remove all bytes."""
        if self._size and not self._held:
            self.path.unlink(missing_ok=True)
        self._release()
        self._size = 0

    def _stays_in_memory(self, more: int) -> bool:
        """Whether it is in memory, with so many more bytes, which are then taken from the share."""
        is_in_memory = bool(self._held) or not self._size
        is_small = self._size + more <= MAX_FILE
        return is_in_memory and is_small and self._share is not None and self._share.take(more)

    def _write(self, data: bytes, before: int) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(data)
        except OSError:
            with contextlib.suppress(OSError):  # half a record cannot be read
                os.truncate(self.path, before)
            raise

    def _release(self) -> None:
        if self._share is not None:
            self._share.give_back(sum(map(len, self._held)))
        self._held = []
