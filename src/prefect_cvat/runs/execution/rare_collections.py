"""Lets Python look for old garbage less often during a run.

A full collection goes through all objects of the process: those of all imported modules, and of all
annotations that wait to be written, which have no cycles. By default it comes so often that it takes a
seventh of the processor time of a run with 100 boxes on an image, and all threads wait meanwhile. It would
also come after each short run, which makes objects by the ten thousands. Young objects are collected less
often, too.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collecting_rarely"]

NEW_OBJECTS = 10_000
"""The number of new objects before the youngest are collected; Python's default is 700 to 2,000."""

MIDDLE_COLLECTIONS = 50
"""The number of collections of younger objects before a full one; Python's default is 10."""

_lock = threading.Lock()
_runs = 0
_before: tuple[int, int, int] = (0, 0, 0)


@contextmanager
def collecting_rarely() -> Iterator[None]:
    """Make collections rare in the whole process, until the last of the runs ends.

    Higher thresholds of the process stay, and so do those that are set meanwhile, and a collector that is
    switched off.
    """
    global _runs, _before
    with _lock:
        _runs += 1
        if _runs == 1:
            _before = gc.get_threshold()
            gc.set_threshold(*_rarely())
    try:
        yield
    finally:
        with _lock:
            _runs -= 1
            if not _runs and gc.get_threshold() == _rarely():
                gc.set_threshold(*_before)


def _rarely() -> tuple[int, int, int]:
    new = max(_before[0], NEW_OBJECTS) if _before[0] else 0  # 0 switches the collector off
    return new, _before[1], max(_before[2], MIDDLE_COLLECTIONS)
