"""Keeps the last read chunk open, because the next batch may continue in it.

So the directory of a large zip and the index of a large video are read once, and a video is not decoded again
from its keyframe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_cvat.frames import ChunkFile
from prefect_cvat.media.frame_reader import open_chunk
from prefect_cvat.media.image_chunk import ZipChunk
from prefect_cvat.media.video_chunk import VideoChunk

__all__ = ["LastOpenChunk"]


class LastOpenChunk:
    """Opens chunks, and keeps the last one open. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: tuple[ChunkFile, ZipChunk | VideoChunk] | None = None

    @contextmanager
    def open(self, chunk: ChunkFile) -> Iterator[ZipChunk | VideoChunk]:
        """Open a chunk like `open_chunk`; one that was read last is still open."""
        with self._lock:
            if self._open is not None and self._open[0] != chunk:
                self._close()
            kept, self._open = self._open, None
        opened = open_chunk(chunk) if kept is None else kept[1]
        try:
            yield opened
        except BaseException:
            opened.close()
            raise
        with self._lock:
            self._close()
            self._open = (chunk, opened)

    def close(self, chunk: ChunkFile | None = None) -> None:
        """Close the open chunk.

        Args:
            chunk: Close only this one; None closes any.
        """
        with self._lock:
            if self._open is not None and chunk in (None, self._open[0]):
                self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None
