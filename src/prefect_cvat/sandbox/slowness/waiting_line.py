"""A first-in, first-out queue for several places, whose waiting times are calculated in advance."""

import heapq
import threading
import time


class WaitingLine:
    """A first-in, first-out queue of requests with known durations. Thread-safe.

    Args:
        places: Number of requests that are served at a time.
        catch_up_seconds: The maximum time by which later waits are shortened if earlier ones took too long.
    """

    def __init__(self, places: int, catch_up_seconds: float = 0) -> None:
        self._lock = threading.Lock()
        self._free_at = [0.0] * places
        self._catch_up = catch_up_seconds

    def join(self, seconds: float) -> float:
        """Queue for a place.

        Args:
            seconds: How long the request occupies the place.

        Returns:
            When the place becomes free again, on the clock of `time.monotonic`.
        """
        with self._lock:
            start = max(self._free_at[0], time.monotonic() - self._catch_up)
            heapq.heapreplace(self._free_at, start + seconds)
            return start + seconds
