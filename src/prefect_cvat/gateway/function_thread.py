"""A thread that runs the calls of one function, and puts calls that wait together into batches."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect_cvat.gateway.refusals import Refusal, Replaced

__all__ = ["FunctionThread", "Job"]

BATCH_WINDOW = 0.010
"""How long a call waits for others, in seconds, where others are on their way or may come back."""

LONGEST_WINDOW = 0.020
"""The same after slow batches: a sixth of what the last one took, but not more."""

COMING_BACK = 0.1
"""How long after a batch its callers are expected to come back, in seconds."""


@dataclass(eq=False, slots=True)
class Job:
    """A call to run.

    Attributes:
        call: The call.
        deadline: When its caller gives up, by `time.monotonic`. It is not started after that.
        alike: Calls of one batch are alike in this.
        answer: The answer or the error.
    """

    call: Any
    deadline: float
    alike: Hashable = None
    answer: Future[bytes] = field(default_factory=Future)


class FunctionThread:
    """Runs jobs in their order.

    The thread is a daemon: Python cannot end a function that hangs, and the process must be able to end.

    Args:
        name: The name of the function.
        run: Runs a batch and sets the answer of each job.
        max_batch: Returns the maximum number of jobs in a batch.
        ended: Called in the thread at its end.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Job]], None],
        max_batch: Callable[[], int],
        ended: Callable[[], None],
    ) -> None:
        self._name = name
        self._run = run
        self._max_batch = max_batch
        self._ended = ended
        self._changed = threading.Condition()
        self._jobs: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._announced = 0
        self._callers = 1
        self._ended_at = 0.0
        self._window = BATCH_WINDOW
        self._busy_since: float | None = None

    @property
    def busy_seconds(self) -> float:
        """How long the batch that runs has been running; 0 if there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def announce(self, change: int) -> None:
        """Say that a call is on its way (1), or is no longer (-1): a batch waits for it a moment."""
        with self._changed:
            self._announced += change
            self._changed.notify()

    def submit(self, job: Job) -> None:
        """Queue a job; the thread starts with the first one.

        Raises:
            Replaced: It is closed.
        """
        with self._changed:
            if self._is_closed:
                raise Replaced(self._name)
            self._jobs.append(job)
            job.answer.add_done_callback(partial(self._forget, job))
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Take no more jobs; the thread ends after those that it has."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            if self._thread is None:
                self._ended()

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, for up to so many seconds."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _loop(self) -> None:
        while batch := self._take():
            try:
                self._run(batch)
            except BaseException as error:  # a bug of ours must not leave callers waiting
                for job in batch:
                    if not job.answer.done():
                        job.answer.set_exception(error)
            finally:
                with self._changed:
                    self._callers = len(batch) + len(self._jobs)
                    self._ended_at = time.monotonic()
                    self._window = min(max(BATCH_WINDOW, self.busy_seconds / 6), LONGEST_WINDOW)
                    self._busy_since = None
        self._ended()

    def _take(self) -> list[Job]:
        """The next batch; empty at the end."""
        with self._changed:
            while self._has_jobs():
                if batch := self._gather():
                    self._busy_since = time.monotonic()
                    return batch
        return []

    def _has_jobs(self) -> bool:
        """Wait for a job; False at the end."""
        while True:
            self._jobs = deque(job for job in self._jobs if _is_wanted(job, self._name))
            if self._jobs or self._is_closed:
                return bool(self._jobs)
            self._changed.wait()

    def _gather(self) -> list[Job]:
        """A batch, after a moment for others to come; empty if all callers give up meanwhile."""
        limit = self._max_batch()
        begin = time.monotonic()
        expected = self._callers if begin - self._ended_at < COMING_BACK else 1
        end = begin + self._window
        while len(self._jobs) < limit and (self._announced or len(self._jobs) < expected):
            left = end - time.monotonic()
            if left <= 0 or self._is_closed:
                break
            self._changed.wait(left)
        if not self._jobs:
            return []
        alike = [job for job in self._jobs if job.alike == self._jobs[0].alike][:limit]
        self._jobs = deque(job for job in self._jobs if job not in alike)
        return [job for job in alike if job.answer.set_running_or_notify_cancel()]

    def _forget(self, job: Job, answer: Future[bytes]) -> None:
        """Drop a job whose caller has gone, with its image."""
        if answer.cancelled():
            with self._changed, suppress(ValueError):  # it has been taken meanwhile
                self._jobs.remove(job)


def _is_wanted(job: Job, name: str) -> bool:
    """Whether the caller of a job still waits for it."""
    if job.answer.cancelled():
        return False
    if time.monotonic() < job.deadline:
        return True
    if job.answer.set_running_or_notify_cancel():
        job.answer.set_exception(Refusal(504, f"{name} was busy with other calls for too long"))
    return False
