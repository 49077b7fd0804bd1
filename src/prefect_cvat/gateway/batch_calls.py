"""Recognizes calls of CVAT's automatic annotation, which names neither the task nor itself.

CVAT 2.73 asks for the record of a function before each call from a page. Its automatic annotation asks once,
and then calls the function for one frame after the other.
"""

from __future__ import annotations

import time

__all__ = ["BatchCalls"]

RECORD_SECONDS = 120.0
"""For how long after the record was asked for a call belongs to it."""

PAUSE_SECONDS = 600.0
"""Calls after a longer pause are another batch."""

MIN_CALLS = 3
"""Calls without a record before they count as a batch: records and calls of several pages may overlap."""


class BatchCalls:
    """The calls of one function, as far as they tell who makes them."""

    def __init__(self) -> None:
        self._records: list[float] = []
        self._unasked = 0
        self._last = -PAUSE_SECONDS

    def record_asked(self) -> None:
        """Note that CVAT has asked for the record of the function."""
        self._records.append(time.monotonic())
        del self._records[:-100]

    def called(self) -> bool:
        """Note a call; whether a batch has been recognized by it, for the first time."""
        now = time.monotonic()
        self._records = [asked for asked in self._records if now - asked < RECORD_SECONDS]
        if self._records:
            self._records.pop(0)
            return False
        if now - self._last > PAUSE_SECONDS:
            self._unasked = 0
        self._last = now
        self._unasked += 1
        return self._unasked == MIN_CALLS
