"""How large batches are: whole chunks, as many as about two seconds of detection take."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from prefect_cvat.media import Frame

__all__ = ["BatchSize", "Chunk", "take_chunks"]

Chunk: TypeAlias = tuple[int, Sequence[Frame]]
"""The number of a chunk, and those of its frames that are wanted."""

BATCH_SECONDS = 2.0
"""How much detection a batch should hold: enough to make the cost of a Prefect task run small."""

MOST_FRAMES = 150
"""How many frames a batch has at the most, however quick the function: what it finds is held in memory."""

MOST_BATCHES = 100
"""How many batches a run is cut into at the most (four Prefect task runs each), whatever its size."""


class BatchSize:
    """How many frames a batch should have at the most, by how long the batches before took.

    Args:
        fixed: That many, however long they take.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._seconds_per_frame: float | None = None

    def learn(self, seconds: float, frames: int) -> None:
        """So long did the detection of so many frames take; what was learned before counts half."""
        now = seconds / frames
        before = self._seconds_per_frame
        self._seconds_per_frame = now if before is None else 0.5 * (before + now)

    def most(self, total: int) -> int:
        """How many frames that is, of so many that the run has in all."""
        if self._fixed is not None:
            return self._fixed
        if self._seconds_per_frame is None:
            return 1  # one chunk, to see how long it takes
        in_time = int(BATCH_SECONDS / max(self._seconds_per_frame, 1e-4))
        return max(min(in_time, MOST_FRAMES), total // MOST_BATCHES)


def take_chunks(chunks: deque[Chunk], most: int) -> list[Chunk]:
    """Take the first chunks off, one at the least, as long as they have no more than so many frames.

    Args:
        chunks: The chunks; what is taken is gone from them.
        most: The most frames.
    """
    taken = [chunks.popleft()]
    frames = len(taken[0][1])
    while chunks and frames + len(chunks[0][1]) <= most:
        taken.append(chunks.popleft())
        frames += len(taken[-1][1])
    return taken
