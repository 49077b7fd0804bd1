"""Measures how long the stages of a run work: time with several threads in a stage counts once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["StageClock", "Stopwatch"]


class StageClock:
    """Adds up the seconds of each stage. May be used from several threads.

    Args:
        seconds: The seconds by stage, updated when the last thread leaves a stage.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._working: dict[str, int] = {}
        self._began: dict[str, float] = {}

    @contextmanager
    def timing(self, stage: str) -> Iterator[Stopwatch]:
        """Time the work of one thread in a stage."""
        watch = Stopwatch(self, stage)
        watch.start()
        try:
            yield watch
        finally:
            watch.stop()

    def enter(self, stage: str) -> None:
        """Count one more thread in a stage."""
        with self._lock:
            working = self._working.get(stage, 0)
            if not working:
                self._began[stage] = time.perf_counter()
            self._working[stage] = working + 1

    def leave(self, stage: str) -> None:
        """Count one thread less."""
        with self._lock:
            self._working[stage] -= 1
            if not self._working[stage]:
                seconds = time.perf_counter() - self._began[stage]
                self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds


class Stopwatch:
    """The time of one thread in a stage, without its pauses.

    Args:
        clock: The clock of the run.
        stage: The stage.
    """

    def __init__(self, clock: StageClock, stage: str) -> None:
        self._clock = clock
        self._stage = stage
        self._before = 0.0
        self._began = 0.0

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.perf_counter() - self._began

    def start(self) -> None:
        """Start, or resume."""
        self._clock.enter(self._stage)
        self._began = time.perf_counter()

    def stop(self) -> None:
        """Stop."""
        self._before = self.seconds
        self._clock.leave(self._stage)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pause while the thread waits for another stage."""
        self.stop()
        try:
            yield
        finally:
            self.start()
