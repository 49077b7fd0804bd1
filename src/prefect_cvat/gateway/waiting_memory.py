"""Bounds the memory of all calls that wait or run."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from prefect_cvat.gateway.refusals import Refusal

__all__ = ["MemoryShare", "WaitingMemory"]


class WaitingMemory:
    """The memory of calls, for one thread.

    Args:
        max_bytes: Maximum of all calls together. A single call may take more.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.taken = 0

    @contextmanager
    def share(self) -> Iterator[MemoryShare]:
        """The share of a call, which is free again after the block."""
        share = MemoryShare(self)
        try:
            yield share
        finally:
            self.taken -= share.size


class MemoryShare:
    """What one call takes, in bytes."""

    def __init__(self, memory: WaitingMemory) -> None:
        self._memory = memory
        self.size = 0

    def resize(self, size: int) -> None:
        """Change the share.

        Raises:
            Refusal: All calls together would take too much.
        """
        others = self._memory.taken - self.size
        if others and others + size > self._memory.max_bytes:
            raise Refusal(503, "the gateway is busy with other large images: try again in a moment")
        self._memory.taken = others + size
        self.size = size

    def keep_until(self, future: Future[Any], loop: AbstractEventLoop) -> None:
        """Let the share outlive its block, until a future of another thread is done."""
        size, self.size = self.size, 0

        def free() -> None:
            self._memory.taken -= size

        def done(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(free)

        future.add_done_callback(done)
