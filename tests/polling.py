"""Waits for a condition that another thread or process brings about."""

import time


def until(condition, *, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.01)
