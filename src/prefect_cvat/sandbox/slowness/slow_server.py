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
    """Knows how long each thing takes and who waits for what. Thread-safe.

    Args:
        slowness: How slow it is at first.
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
        """Change how slow it is, for what is asked from now on."""
        self._slowness = slowness
        self._processes = WaitingLine(slowness.server_processes)
        self._chunk_workers = WaitingLine(slowness.chunk_workers)
        self._to_client = WaitingLine(1, _CATCH_UP_SECONDS)
        self._from_client = WaitingLine(1, _CATCH_UP_SECONDS)

    def end(self) -> None:
        """End all waiting now, for good."""
        self._ended.set()

    def chunk_delay(self, chunk: Path, *, frames: int, megapixels: float) -> float:
        """Ask for a chunk.

        Args:
            chunk: The file in which it is kept once it is made.
            frames: Number of its frames.
            megapixels: Pixels of all its frames, in millions.

        Returns:
            Seconds until it is made; 0 if it is.
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
        """Forget which chunks are made. Their files are the caller's to delete."""
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
        """Wait as long as the link carries bytes of an answer."""
        await self._carry(self._to_client, size)

    async def receive_from_client(self, size: int) -> None:
        """Wait as long as the link carries bytes of a request."""
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
