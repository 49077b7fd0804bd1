"""Waits for a condition that another thread or process brings about."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(look: Callable[[], Found], *, seconds: float = 30.0, every: float = 0.01) -> Found:
    """Wait until a function returns something true, and return that; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"the condition did not become true in {seconds:.0f} s"
        time.sleep(every)
    return found
