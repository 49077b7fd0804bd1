"""The chunks of a run on disk: each is fetched once, and stays until the last batch that needs it is done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from prefect_cvat.media import ChunkFile

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

    def need(self, batch: int, numbers: Iterable[int]) -> None:
        """Say which chunks a batch still needs; those that no batch needs any more are deleted.

        Args:
            batch: The number of the batch.
            numbers: The numbers of its chunks; none when it is done.
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
                        chunk.file.path.unlink(missing_ok=True)

    def get(self, batch: int, number: int) -> ChunkFile:
        """A chunk that a batch needs; it is fetched unless it is there.

        One that could not be fetched is fetched again for whoever asks next.

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

    def _of(self, number: int) -> _Spooled:
        return self._chunks.setdefault(number, _Spooled())


class _Spooled:
    """A chunk that is needed.

    Attributes:
        batches: The numbers of the batches that need it.
        fetching: Held by who fetches it: others wait.
        file: The chunk, once it is there.
    """

    __slots__ = ("batches", "fetching", "file")

    def __init__(self) -> None:
        self.batches: set[int] = set()
        self.fetching = threading.Lock()
        self.file: ChunkFile | None = None
