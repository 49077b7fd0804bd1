"""A line in which requests wait for one of several places, calculated in advance."""

import heapq
import threading
import time


class WaitingLine:
    """Serves first those who come first, each for a known time. Thread-safe.

    Args:
        places: Number of those who are served at a time.
        catch_up_seconds: How far the line may make up for waiting that took longer than it should.
    """

    def __init__(self, places: int, catch_up_seconds: float = 0) -> None:
        self._lock = threading.Lock()
        self._free_at = [0.0] * places
        self._catch_up = catch_up_seconds

    def join(self, seconds: float) -> float:
        """Join the line for a place.

        Args:
            seconds: How long the place is taken.

        Returns:
            When it becomes free again, on the clock of `time.monotonic`.
        """
        with self._lock:
            start = max(self._free_at[0], time.monotonic() - self._catch_up)
            heapq.heapreplace(self._free_at, start + seconds)
            return start + seconds
