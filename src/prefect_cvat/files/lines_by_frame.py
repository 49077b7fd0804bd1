"""Lines about frames, kept on disk until they are needed: a task may have millions of shapes."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

from prefect_cvat.exceptions import StorageError

__all__ = ["FRAMES_OF_GROUP", "LinesByFrame"]

FRAMES_OF_GROUP = 64
"""The lines of so many frames are read from disk together."""

MOST_BYTES = 4 * 2**20
"""How many bytes wait in memory to be written."""


class LinesByFrame:
    """Lines, each about a frame. In memory are those of a few frames, and 16 bytes a group of frames.

    The file has no name: it is gone with this object, or with the process, however that ends. Not to be used
    from several threads at a time.
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
        """Add a line, which has no line break in it.

        Raises:
            StorageError: The disk does not take what waits to be written.
        """
        if frame >= len(self._has_lines):
            self._has_lines.extend(bytes(frame + 1 - len(self._has_lines)))
        self._has_lines[frame] = 1
        entry = b"%d %b\n" % (frame, line)
        self._waiting.setdefault(frame // FRAMES_OF_GROUP, bytearray()).extend(entry)
        self._waiting_bytes += len(entry)
        if self._waiting_bytes > MOST_BYTES:
            self._write()

    def has(self, frame: int) -> bool:
        """Whether there is a line about a frame."""
        return frame < len(self._has_lines) and bool(self._has_lines[frame])

    def frames(self) -> Iterator[int]:
        """The frames that there are lines about, in ascending order."""
        return (frame for frame, has_lines in enumerate(self._has_lines) if has_lines)

    def of(self, frame: int) -> list[bytes]:
        """The lines about a frame, in the order in which they were added.

        Raises:
            StorageError: The disk does not give them back.
        """
        if not self.has(frame):
            return []
        group = frame // FRAMES_OF_GROUP
        if self._waiting:
            self._write()
        if self._read is None or self._read[0] != group:
            self._read = None  # not two of them at a time
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
            raise StorageError(f"what is known of the frames cannot be kept on disk: {error}") from error
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
