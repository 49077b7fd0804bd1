"""The server processes and the chunk workers of a slow sandbox."""

import asyncio
import threading
import time
from pathlib import Path

from prefect_cvat.sandbox.slowness.figures import Slowness
from prefect_cvat.sandbox.slowness.waiting_line import WaitingLine

_LONGEST_NAP = 0.2
_CATCH_UP_SECONDS = 0.05


class SlowServer:
    """Calculates delays and queues requests. Thread-safe.

    Args:
        slowness: The initial delays.
    """

    def __init__(self, slowness: Slowness) -> None:
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._made_at: dict[Path, float] = {}
        self.set(slowness)

    @property
    def slowness(self) -> Slowness:
        """How slow it is."""
        return self._slowness

    def set(self, slowness: Slowness) -> None:
        """Change the delays of later requests."""
        self._slowness = slowness
        self._processes = WaitingLine(slowness.server_processes)
        self._chunk_workers = WaitingLine(slowness.chunk_workers)
        self._to_client = WaitingLine(1, _CATCH_UP_SECONDS)
        self._from_client = WaitingLine(1, _CATCH_UP_SECONDS)

    def end(self) -> None:
        """End all waiting now and in the future."""
        self._ended.set()

    def chunk_delay(self, chunk: Path, *, frames: int, megapixels: float) -> float:
        """Request a chunk.

        Args:
            chunk: Its file in the cache.
            frames: Its number of frames.
            megapixels: The pixels of all its frames, in millions.

        Returns:
            Seconds until it is ready; 0 if it is cached.
        """
        slowness = self._slowness
        cost = frames * slowness.chunk_seconds_per_frame + megapixels * slowness.chunk_seconds_per_megapixel
        with self._lock:
            if chunk not in self._made_at:
                if not cost or chunk.exists():
                    return 0
                self._made_at[chunk] = self._chunk_workers.join(cost)
            return max(0, self._made_at[chunk] - time.monotonic())

    def forget_chunks(self) -> None:
        """Forget which chunks are cached. The caller deletes their files."""
        with self._lock:
            self._made_at.clear()

    async def work(self, *, requests: int = 0, written: int = 0, read: int = 0, sent_bytes: int = 0) -> None:
        """Occupy a server process with a request or a part of it."""
        slowness = self._slowness
        cost = (
            requests * slowness.seconds_per_request
            + written * slowness.seconds_per_written_shape
            + read * slowness.seconds_per_read_shape
            + sent_bytes / 1e6 * slowness.seconds_per_sent_megabyte
        )
        if cost:
            await self._wait_until(self._processes.join(cost))

    async def send_to_client(self, size: int) -> None:
        """Wait for the transfer of a response over the link."""
        await self._carry(self._to_client, size)

    async def receive_from_client(self, size: int) -> None:
        """Wait for the transfer of a request over the link."""
        await self._carry(self._from_client, size)

    async def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until the server stops."""
        if seconds > 0:
            await self._wait_until(time.monotonic() + seconds)

    async def _carry(self, line: WaitingLine, size: int) -> None:
        if self._slowness.bytes_per_second is not None and size:
            await self._wait_until(line.join(size / self._slowness.bytes_per_second))

    async def _wait_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0 and not self._ended.is_set():
            await asyncio.sleep(min(left, _LONGEST_NAP))
