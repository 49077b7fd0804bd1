"""Stores lines of text by frame on disk: a task may have millions of shapes."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

from prefect_cvat.exceptions import StorageError

__all__ = ["FRAMES_OF_GROUP", "LinesByFrame"]

FRAMES_OF_GROUP = 64
"""How many frames are read from disk at a time."""

MAX_BYTES = 4 * 2**20
"""Maximum number of bytes in memory before they are written to disk."""


class LinesByFrame:
    """Lines of text by frame. Only a few frames, and 16 bytes per group of frames, are in memory.

    The file has no name, so it disappears with this object or the process. Not thread-safe.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._end = 0
        self._waiting: dict[int, bytearray] = {}
        self._waiting_bytes = 0
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._read: tuple[int, dict[int, list[bytes]]] | None = None
        self._has_lines = bytearray()

    def add(self, frame: int, line: bytes) -> None:
        """Add a line without line breaks.

        Raises:
            StorageError: It cannot be written to disk.
        """
        if frame >= len(self._has_lines):
            self._has_lines.extend(bytes(frame + 1 - len(self._has_lines)))
        self._has_lines[frame] = 1
        entry = b"%d %b\n" % (frame, line)
        self._waiting.setdefault(frame // FRAMES_OF_GROUP, bytearray()).extend(entry)
        self._waiting_bytes += len(entry)
        if self._waiting_bytes > MAX_BYTES:
            self._write()

    def has(self, frame: int) -> bool:
        """Whether a frame has lines."""
        return frame < len(self._has_lines) and bool(self._has_lines[frame])

    def frames(self) -> Iterator[int]:
        """The frames that have lines, in ascending order."""
        return (frame for frame, has_lines in enumerate(self._has_lines) if has_lines)

    def of(self, frame: int) -> list[bytes]:
        """The lines of a frame, in the order in which they were added.

        Raises:
            StorageError: They cannot be written to disk.
        """
        if not self.has(frame):
            return []
        group = frame // FRAMES_OF_GROUP
        if self._waiting:
            self._write()
        if self._read is None or self._read[0] != group:
            self._read = None  # frees the memory of the last group
            self._read = (group, self._group(group))
        return self._read[1].get(frame, [])

    def _write(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (goes with this object)
                weakref.finalize(self, self._file.close)
            self._file.seek(self._end)
            for group, entries in self._waiting.items():
                self._file.write(entries)
                self._places.setdefault(group, []).append((self._end, len(entries)))
                self._end += len(entries)
            self._file.flush()
        except OSError as error:
            raise StorageError(f"temporary data cannot be stored on disk: {error}") from error
        self._waiting = {}
        self._waiting_bytes = 0
        self._read = None

    def _group(self, group: int) -> dict[int, list[bytes]]:
        by_frame: dict[int, list[bytes]] = {}
        assert self._file is not None
        for begin, length in self._places.get(group, ()):
            self._file.seek(begin)
            for entry in self._file.read(length).splitlines():
                frame, _, line = entry.partition(b" ")
                by_frame.setdefault(int(frame), []).append(line)
        return by_frame
