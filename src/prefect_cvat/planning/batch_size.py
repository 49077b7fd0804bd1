"""Sizes batches: whole chunks, or parts of large chunks, for about two seconds of detection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TypeAlias

from prefect_cvat.frames import Frame

__all__ = ["BatchSize", "ChunkPart", "PartQueue", "take_batch", "take_parts"]

ChunkPart: TypeAlias = tuple[int, Sequence[Frame]]
"""The number of a chunk, and selected frames of it: all, or a part of a large chunk."""

BATCH_SECONDS = 2.0
"""Seconds of detection in a batch: enough to make the cost of a Prefect task run small."""

FRAMES_OF_BATCH = 150
"""Maximum number of frames in a batch, while a run has fewer than `BATCHES` batches."""

BATCHES = 100
"""In a run of more batches than this, batches are larger: each costs a Prefect task run."""

MAX_FRAMES = 1000
"""Maximum number of frames in any batch, since the detections of several batches are in memory.

A task of a million frames has 1,000 batches then, each a Prefect task run of about 65 ms of the Prefect
server's processor.
"""

MAX_ANNOTATIONS = 20_000
"""Maximum number of annotations expected in a batch, for the same reason. Each takes about 2 kB."""


class BatchSize:
    """The maximum number of frames in a batch, adapted to the duration of the batches before.

    Args:
        fixed: A fixed number of frames; None adapts it.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._fixed = fixed
        self._seconds_per_frame: float | None = None
        self._annotations_per_frame: float | None = None

    def learn(self, seconds: float | None, frames: int, annotations: int = 0) -> None:
        """Learn from a batch: a moving average of its duration, and the maximum of its annotations.

        Args:
            seconds: Duration of its detection; None if all detections were known.
            frames: Its number of frames.
            annotations: The number of annotations found on them.
        """
        if seconds is not None:
            now = seconds / frames
            before = self._seconds_per_frame
            self._seconds_per_frame = now if before is None else 0.5 * (before + now)
        self._annotations_per_frame = max(self._annotations_per_frame or 0.0, annotations / frames)

    def max_frames(self, total: int, *, are_known: bool = False) -> int:
        """The maximum number of frames in a batch.

        Args:
            total: The number of frames of the run.
            are_known: Whether the detections of its frames are known.
        """
        if self._fixed is not None:
            return self._fixed
        if self._annotations_per_frame is None or (self._seconds_per_frame is None and not are_known):
            return 1  # a single part, to measure
        seconds = 0.0 if are_known else self._seconds_per_frame or 0.0
        in_time = int(BATCH_SECONDS / max(seconds, 1e-4))
        in_memory = int(MAX_ANNOTATIONS / max(self._annotations_per_frame, 1e-4))
        return min(max(min(in_time, FRAMES_OF_BATCH), total // BATCHES), MAX_FRAMES, in_memory)


class PartQueue:
    """The parts of chunks that are in no batch yet, made one at a time.

    Args:
        parts: The parts.
    """

    def __init__(self, parts: Iterable[ChunkPart]) -> None:
        self._parts = iter(parts)
        self._next: deque[ChunkPart] = deque()

    @property
    def first(self) -> ChunkPart | None:
        """The next part; None at the end."""
        return next(iter(self.peek(1)), None)

    def peek(self, number: int) -> list[ChunkPart]:
        """The next parts, at most so many."""
        self._next.extend(islice(self._parts, max(0, number - len(self._next))))
        return list(islice(self._next, number))

    def take(self) -> ChunkPart:
        """Remove and return the next part."""
        assert self.first is not None
        return self._next.popleft()


def take_batch(
    parts: PartQueue, size: BatchSize, total: int, is_known: Callable[[int, Sequence[Frame]], bool]
) -> list[ChunkPart]:
    """Remove and return the parts of the next batch.

    Parts whose detections are known take no time. The first others begin a batch, as they may take long.

    Args:
        parts: The parts.
        size: The size of batches.
        total: The number of frames of the run.
        is_known: Whether the detections of a part are known.
    """
    assert parts.first is not None
    if not is_known(*parts.first):
        return take_parts(parts, size.max_frames(total))
    return take_parts(parts, size.max_frames(total, are_known=True), lambda part: is_known(*part))


def take_parts(
    parts: PartQueue, max_frames: int, may_follow: Callable[[ChunkPart], bool] = lambda _: True
) -> list[ChunkPart]:
    """Remove and return the first parts: one, and more up to a number of frames.

    Args:
        parts: The parts.
        max_frames: Maximum number of frames, except for a single part.
        may_follow: Whether a part may be in one batch with the first.
    """
    taken = [parts.take()]
    frames = len(taken[0][1])
    while (part := parts.first) is not None and frames + len(part[1]) <= max_frames and may_follow(part):
        taken.append(parts.take())
        frames += len(taken[-1][1])
    return taken
