"""The chunks of a run on disk: each is fetched once, and deleted after the last batch that needs it.

The chunk that was read last stays open, since the next batch may continue in it: the directory of a large zip
and the index of a large video are read once, and a video is not decoded again from its keyframe.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prefect_cvat.frames import ChunkFile
from prefect_cvat.media.frame_reader import open_chunk
from prefect_cvat.media.image_chunk import ZipChunk
from prefect_cvat.media.video_chunk import VideoChunk

__all__ = ["SpooledChunks"]


class SpooledChunks:
    """Chunks on disk that batches share. May be used from several threads.

    Args:
        fetch: Downloads the chunk with a number.
    """

    def __init__(self, fetch: Callable[[int], ChunkFile]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._chunks: dict[int, _Spooled] = {}
        self._open: tuple[ChunkFile, ZipChunk | VideoChunk] | None = None

    def need(self, batch: int, numbers: Iterable[int]) -> None:
        """Set the chunks that a batch still needs; chunks that no batch needs are deleted.

        Args:
            batch: The number of the batch.
            numbers: The numbers of its chunks; empty when the batch is done.
        """
        needed = set(numbers)
        with self._lock:
            for number in needed:
                self._of(number).batches.add(batch)
            for number in self._chunks.keys() - needed:
                chunk = self._chunks[number]
                chunk.batches.discard(batch)
                if not chunk.batches:
                    del self._chunks[number]
                    if chunk.file is not None:
                        if self._open is not None and self._open[0] == chunk.file:
                            self._close()
                        chunk.file.path.unlink(missing_ok=True)

    def get(self, batch: int, number: int) -> ChunkFile:
        """A chunk that a batch needs; it is fetched if it is not on disk.

        After a failure, the next call fetches it again.

        Args:
            batch: The number of the batch.
            number: The number of the chunk.

        Raises:
            PrefectCvatError: It cannot be fetched.
        """
        with self._lock:
            chunk = self._of(number)
            chunk.batches.add(batch)
        with chunk.fetching:
            if chunk.file is None:
                chunk.file = self._fetch(number)
            return chunk.file

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

    def close(self) -> None:
        """Close the open chunk; the files on disk stay."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _of(self, number: int) -> _Spooled:
        return self._chunks.setdefault(number, _Spooled())


class _Spooled:
    """A chunk that is needed.

    Attributes:
        batches: The numbers of the batches that need it.
        fetching: Held during the download; other threads wait for it.
        file: The chunk, once it was fetched.
    """

    __slots__ = ("batches", "fetching", "file")

    def __init__(self) -> None:
        self.batches: set[int] = set()
        self.fetching = threading.Lock()
        self.file: ChunkFile | None = None
