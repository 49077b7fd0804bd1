"""How large batches are: chunks, or parts of large ones, as many as two seconds of detection take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from prefect_cvat.frames import Frame

__all__ = ["BatchSize", "ChunkPart", "PartQueue", "take_parts"]

ChunkPart: TypeAlias = tuple[int, Sequence[Frame]]
"""The number of a chunk, and wanted frames of it: all of them, or a part if they are many."""

BATCH_SECONDS = 2.0
"""How much detection a batch should hold: enough to make the cost of a Prefect task run small."""

FRAMES_OF_BATCH = 150
"""How many frames a batch has at the most, as long as there are not many batches."""

BATCHES = 100
"""From so many batches on, they become larger: each costs four Prefect task runs."""

MOST_FRAMES = 1000
"""How many frames a batch has at the most in any case, since the detections of some batches are in memory.

A task of a million frames has 1,000 batches then, 4,000 Prefect task runs. Measured, these take some four
minutes of the Prefect server's processor, in a run of hours, and 60 MB of its database; batches of 150 would
take seven times as much.
"""

MOST_ANNOTATIONS = 20_000
"""How many annotations a batch should have at the most, for the same reason. Each takes about 2 kB."""


class BatchSize:
    """How many frames a batch should have at the most, by how long the batches before took.

    Args:
        fixed: That many, however long they take.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._seconds_per_frame: float | None = None
        self._annotations_per_frame = 0.0

    def learn(self, seconds: float, frames: int, annotations: int = 0) -> None:
        """Take in how a batch went; what was learned before counts half; the maximum of annotations stays.

        Args:
            seconds: How long its detection took.
            frames: How many frames it had.
            annotations: How many annotations were found on them.
        """
        now = seconds / frames
        before = self._seconds_per_frame
        self._seconds_per_frame = now if before is None else 0.5 * (before + now)
        self._annotations_per_frame = max(self._annotations_per_frame, annotations / frames)

    def most(self, total: int) -> int:
        """How many frames that is, of so many that the run has in all."""
        if self._fixed is not None:
            return self._fixed
        if self._seconds_per_frame is None:
            return 1  # one part, to see how long it takes
        in_time = int(BATCH_SECONDS / max(self._seconds_per_frame, 1e-4))
        in_memory = int(MOST_ANNOTATIONS / max(self._annotations_per_frame, 1e-4))
        return min(max(min(in_time, FRAMES_OF_BATCH), total // BATCHES), MOST_FRAMES, in_memory)


class PartQueue:
    """Parts of chunks that are still to be taken; they are made when they are looked at.

    Args:
        parts: The parts.
    """

    def __init__(self, parts: Iterable[ChunkPart]) -> None:
        self._parts = iter(parts)
        self.first = next(self._parts, None)
        """The next one; None at the end."""

    def take(self) -> ChunkPart:
        """Take the next one off."""
        assert self.first is not None
        taken, self.first = self.first, next(self._parts, None)
        return taken


def take_parts(parts: PartQueue, most: int) -> list[ChunkPart]:
    """Take the first parts off, one at the least, as long as they have no more than so many frames.

    Args:
        parts: The parts; what is taken is gone from them.
        most: The most frames.
    """
    taken = [parts.take()]
    frames = len(taken[0][1])
    while parts.first is not None and frames + len(parts.first[1]) <= most:
        taken.append(parts.take())
        frames += len(taken[-1][1])
    return taken
