"""The chunks of a run on disk: each is fetched once, and deleted after the last batch that needs it.

Separate threads fetch several chunks at a time, in the order in which batches need them, and one at a time
while the current batch and the next one are on disk: the processor is for detection then. The size of the
chunks on disk is limited, except for those of the current batch, which are always fetched.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from math import inf

from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.frames import ChunkFile
from prefect_cvat.media.download_limit import DownloadLimit
from prefect_cvat.media.download_slots import MAX_PAUSED, DownloadSlots
from prefect_cvat.media.image_chunk import ZipChunk
from prefect_cvat.media.last_open_chunk import LastOpenChunk
from prefect_cvat.media.video_chunk import VideoChunk
from prefect_cvat.options.execution_options import MAX_DOWNLOADS

__all__ = ["AHEAD", "BatchChunks", "SpooledChunks"]

AHEAD = inf
"""Stands in for a batch number: the chunks after the last batch so far."""

URGENT_BATCHES = 2
"""For these batches, from the current one on, several chunks are downloaded at a time."""

MAX_BYTES = 2**29
"""Maximum size in bytes of the chunks on disk, unless the current batch alone needs more."""


class SpooledChunks:
    """Chunks on disk that batches share. May be used from several threads.

    A batch first declares the chunks that it may need (`need`), so that these stay on disk, then requests
    those that it does need (`request`). Downloads begin in the order of the batches.

    Args:
        fetch: Downloads the chunk with a number. `slots` can interrupt it.
        limit: The number of parallel downloads; adaptive by default.
        max_bytes: Maximum size in bytes of the chunks on disk, unless the first batch alone needs more.
        count_pixels: Returns the number of pixels of a chunk, to estimate its size.
    """

    def __init__(
        self,
        fetch: Callable[[int], ChunkFile],
        limit: DownloadLimit | None = None,
        *,
        max_bytes: int = MAX_BYTES,
        count_pixels: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._fetch = fetch
        self._max_bytes = max_bytes
        self._count_pixels = count_pixels
        self._changed = threading.Condition(threading.RLock())
        self.slots = DownloadSlots(limit or DownloadLimit(), self._changed, self._start)
        self._threads = ThreadPoolExecutor(MAX_DOWNLOADS + MAX_PAUSED, thread_name_prefix="download")
        self._chunks: dict[int, _Spooled] = {}
        self._loading: set[_Spooled] = set()
        self._waiting: dict[float, deque[int] | None] = {}  # by batch; None before its request
        self._bytes = 0
        self._bytes_per_pixel: float | None = None
        self._last_open = LastOpenChunk()

    def need(self, batch: float, numbers: Iterable[int]) -> None:
        """Set the chunks that a batch may still need; chunks that no batch needs are deleted.

        Args:
            batch: The number of the batch, or `AHEAD`.
            numbers: The numbers of its chunks; empty when the batch is done.
        """
        with self._changed:
            self._set_needs(batch, set(numbers))
            self._start()

    def request(self, batch: float, numbers: Iterable[int]) -> None:
        """Start to download the chunks that a batch needs, including those whose download has failed.

        Args:
            batch: The number of the batch, or `AHEAD`.
            numbers: The numbers of its chunks, in the order in which they will be read.
        """
        wanted = tuple(numbers)
        with self._changed:
            self._set_needs(batch, set(wanted))
            if wanted:
                self._waiting[batch] = deque(wanted)
            if batch != AHEAD:
                for number in wanted:
                    self._chunks[number].error = None
            self._start()

    def get(self, number: int, *, has_given_up: Callable[[], bool] = lambda: False) -> ChunkFile:
        """Wait for a chunk that was requested.

        Args:
            number: The number of the chunk.
            has_given_up: Whether the caller no longer waits for it, see `BatchChunks`.

        Raises:
            PrefectCvatError: It cannot be fetched.
            RunStoppedError: The downloads were interrupted.
        """
        with self._changed:
            chunk = self._chunks[number]
            self._changed.wait_for(lambda: chunk.is_done or self.slots.is_set or has_given_up())
            if chunk.file is not None:
                return chunk.file
            if chunk.error is None or self.slots.is_set:
                raise RunStoppedError(f"the run was stopped before chunk {number} was downloaded")
            # a copy: other batches get the same error, and each adds its name
            raise copy.copy(chunk.error) from chunk.error.__cause__

    def is_on_disk(self, number: int) -> bool:
        """Whether a chunk that was requested is on disk."""
        with self._changed:
            chunk = self._chunks.get(number)
            return chunk is not None and chunk.file is not None

    def of_batch(self, waiting: Callable[[], AbstractContextManager[object]] = nullcontext) -> BatchChunks:
        """The chunks for the reader of a batch.

        Args:
            waiting: Entered while the reader waits for a chunk.
        """
        return BatchChunks(self, self._last_open, self._changed, waiting)

    def stop(self) -> None:
        """Interrupt all downloads, and delete partial files. Threads that wait for a chunk get an error."""
        self.slots.set()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Interrupt all downloads, end their threads, and close the open chunk; complete files stay."""
        self.stop()
        self._threads.shutdown()
        self._last_open.close()

    def _set_needs(self, batch: float, needed: set[int]) -> None:
        self._waiting.pop(batch, None)
        if needed:
            self._waiting[batch] = None
        for number in needed:
            self._chunks.setdefault(number, _Spooled(self._count_pixels(number))).batches.add(batch)
        for number in self._chunks.keys() - needed:
            chunk = self._chunks[number]
            chunk.batches.discard(batch)
            if not chunk.batches and not chunk.is_loading:
                self._delete(number)

    def _start(self) -> None:
        """Start as many downloads as slots and disk limit allow."""
        while self.slots.are_free and (number := self._next()) is not None:
            chunk = self._chunks[number]
            chunk.is_loading = True
            self._loading.add(chunk)
            chunk.size = self._expected(chunk)
            self._bytes += chunk.size
            self.slots.take()
            self._threads.submit(self._download, number)

    def _next(self) -> int | None:
        """The number of the next chunk to download; None if none may start."""
        batches = sorted(self._waiting)
        for place, batch in enumerate(batches):
            numbers = self._waiting[batch]
            if numbers is None:
                return None
            while numbers and self._chunks[numbers[0]].is_started:
                numbers.popleft()
            if numbers:
                if place >= URGENT_BATCHES and self.slots.one_is_enough:
                    urgent = batches[:URGENT_BATCHES]
                    if all(chunk.batches.isdisjoint(urgent) for chunk in self._loading):
                        return None
                must = place == 0 and batch != AHEAD
                size = self._expected(self._chunks[numbers[0]])
                return numbers[0] if must or self._bytes + size <= self._max_bytes else None
        return None

    def _download(self, number: int) -> None:
        chunk = self._chunks[number]
        if self.slots.is_set:
            return  # those who wait for it have been notified
        self.slots.begin()
        error: BaseException | None = None
        file: ChunkFile | None = None
        size = 0
        try:
            file = self._fetch(number)
            size = file.path.stat().st_size
        except BaseException as raised:
            error = raised
        with self._changed:
            self._bytes += size - chunk.size
            chunk.file, chunk.error, chunk.size, chunk.is_loading = file, error, size, False
            self._loading.remove(chunk)
            if file is not None and chunk.pixels:
                self._bytes_per_pixel = max(self._bytes_per_pixel or 0.0, size / chunk.pixels)
            self.slots.leave(None if error else size, others_wait=self._next() is not None)
            if not chunk.batches:
                self._delete(number)
            self._start()
            self._changed.notify_all()

    def _expected(self, chunk: _Spooled) -> int:
        """The expected size of a chunk in bytes: one byte per pixel until a chunk was downloaded."""
        return int(chunk.pixels * (1.0 if self._bytes_per_pixel is None else self._bytes_per_pixel))

    def _delete(self, number: int) -> None:
        chunk = self._chunks.pop(number)
        self._bytes -= chunk.size
        if chunk.file is not None:
            self._last_open.close(chunk.file)
            chunk.file.path.unlink(missing_ok=True)


class BatchChunks:
    """The chunks of a batch, for its reader: they are opened as they arrive.

    Args:
        chunks: The chunks of the run.
        last_open: Opens them.
        changed: Notified when a chunk arrives.
        waiting: Entered while the reader waits for a chunk; may be changed.
    """

    def __init__(
        self,
        chunks: SpooledChunks,
        last_open: LastOpenChunk,
        changed: threading.Condition,
        waiting: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._chunks = chunks
        self._last_open = last_open
        self._changed = changed
        self.waiting = waiting
        self._has_given_up = False

    def wait(self, chunk: ChunkFile) -> None:
        """Wait until a chunk is on disk. Raises what `SpooledChunks.get` raises."""
        with self.waiting():
            self._chunks.get(chunk.number)

    def open(self, chunk: ChunkFile) -> AbstractContextManager[ZipChunk | VideoChunk]:
        """Open a chunk, once it is on disk. May be called by a thread that reads ahead."""
        return self._last_open.open(self._chunks.get(chunk.number, has_given_up=lambda: self._has_given_up))

    def give_up(self) -> None:
        """Stop waiting for chunks: `open` raises an error in a thread that reads ahead."""
        with self._changed:
            self._has_given_up = True
            self._changed.notify_all()


class _Spooled:
    """A chunk that is needed.

    Attributes:
        pixels: Its number of pixels.
        batches: The numbers of the batches that need it.
        is_loading: Whether it is being downloaded.
        file: The chunk, once it was fetched.
        error: Why it could not be fetched.
        size: Its size in bytes, or the size that it is expected to have while it is being downloaded.
    """

    __slots__ = ("batches", "error", "file", "is_loading", "pixels", "size")

    def __init__(self, pixels: int) -> None:
        self.pixels = pixels
        self.batches: set[float] = set()
        self.is_loading = False
        self.file: ChunkFile | None = None
        self.error: BaseException | None = None
        self.size = 0

    @property
    def is_done(self) -> bool:
        """Whether its download has ended."""
        return self.file is not None or self.error is not None

    @property
    def is_started(self) -> bool:
        """Whether its download has begun or ended."""
        return self.is_loading or self.is_done
