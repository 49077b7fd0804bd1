"""Finds the batch size at which a device processes images fastest."""

from __future__ import annotations

import statistics

__all__ = ["BatchSizeSearch"]

FIRST_SIZE = 2
MAX_SIZE = 64

_MIN_GAIN = 1.1
"""A larger batch must be this many times as fast, since it takes more memory."""

_MEASURED = 3
"""Number of batches of a size of which the median counts. One more comes before them: the first batch of a
size allocates memory and chooses algorithms."""

_PATIENCE = 2
"""Number of sizes in a row without a gain after which the search ends: one may be noise, or a step in a rate
that goes on to grow."""


class BatchSizeSearch:
    """Doubles the batch size while that makes a device faster.

    The search runs along with the work: `learn` is told how long each batch took. Only full batches are
    measured.

    Attributes:
        size: The maximum number of images for the next batch.
        is_done: Whether the size has been found.
    """

    def __init__(self) -> None:
        self.size = FIRST_SIZE
        self.is_done = False
        self._best_size = FIRST_SIZE
        self._best_rate = 0.0
        self._sizes_without_gain = 0
        self._seconds: list[float] = []

    def learn(self, images: int, seconds: float) -> None:
        """Learn from a batch.

        Args:
            images: Its number of images.
            seconds: How long the device took for it.
        """
        if self.is_done or images != self.size:
            return
        self._seconds.append(seconds)
        if len(self._seconds) <= _MEASURED:
            return
        rate = images / max(statistics.median(self._seconds[1:]), 1e-9)
        self._seconds.clear()
        if rate > self._best_rate * _MIN_GAIN:
            self._best_size, self._best_rate = images, rate
            self._sizes_without_gain = 0
        else:
            self._sizes_without_gain += 1
        if self._sizes_without_gain == _PATIENCE or 2 * self.size > MAX_SIZE:
            self._end()
        else:
            self.size *= 2

    def out_of_memory(self, images: int) -> None:
        """End the search, as a batch of this many images, at least 2, did not fit into memory."""
        self._end(images // 2)

    def _end(self, limit: int = MAX_SIZE) -> None:
        self.size = min(self._best_size, limit)
        self.is_done = True
