"""The queue of functions that run on whole tasks: one at a time, in the background."""

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from prefect_cvat.sandbox import timestamps

_GRACE_SECONDS = 5
"""How long a batch may take for its current frame when the sandbox is stopped."""


@dataclass(kw_only=True)
class Batch:
    """A function on a task or a job. The fields are those that the API shows.

    Attributes:
        function: Name of the function, the ids of task and job, and the threshold.
        task_id: The task.
        owner_id: Who has started it.
        progress: Percent of the frames of the task; None before the first one.
    """

    function: dict[str, Any]
    task_id: int
    owner_id: int
    status: str = "queued"
    progress: int | None = None
    enqueued: str = ""
    started: str | None = None
    ended: str | None = None
    exc_info: str | None = None

    @property
    def id(self) -> str:
        """The id; there is one batch for each task."""
        return f"action=autoannotate&target=task&target_id={self.task_id}"

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.status in ("queued", "started")


class BatchQueue:
    """Runs batches one after the other, and keeps the last one of each task.

    Attributes:
        is_closed: Whether nothing may be written any more.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._lock = threading.Lock()
        self._batches: dict[str, Batch] = {}
        self._waiting: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # a function that hangs must not keep the process alive
        self._thread = threading.Thread(target=self._work, name="sandbox-batches", daemon=True)
        self._thread.start()

    def add(self, batch: Batch, run: Callable[[Batch], None]) -> bool:
        """Queue a batch; return False if there is one of its task that waits or runs.

        Args:
            batch: The batch.
            run: Runs it. An exception makes it failed.
        """
        with self._lock:
            before = self._batches.get(batch.id)
            if before is not None and before.is_active:
                return False
            # As in CVAT 2.73, the traceback of an earlier batch is shown until this one has ended.
            batch.exc_info = before.exc_info if before is not None else None
            batch.enqueued = timestamps.now()
            self._batches[batch.id] = batch
        self._waiting.put(lambda: self._run(batch, run))
        return True

    def get(self, batch_id: str) -> Batch | None:
        """A batch, or None."""
        return self._batches.get(batch_id)

    def all(self) -> list[Batch]:
        """All batches, the newest first."""
        with self._lock:
            return sorted(self._batches.values(), key=lambda batch: batch.enqueued, reverse=True)

    def remove(self, batch: Batch) -> None:
        """Forget a batch; if it runs, it ends after its current frame."""
        with self._lock:
            self._batches.pop(batch.id, None)

    def has(self, batch: Batch) -> bool:
        """Whether a batch has not been removed."""
        return self._batches.get(batch.id) is batch

    def close(self) -> None:
        """Remove all batches, and wait for the current frame, but not longer than a few seconds."""
        self.is_closed = True
        with self._lock:
            self._batches.clear()
        self._waiting.put(None)
        self._thread.join(_GRACE_SECONDS)

    def _work(self) -> None:
        while (run := self._waiting.get()) is not None:
            run()

    def _run(self, batch: Batch, run: Callable[[Batch], None]) -> None:
        if not self.has(batch):
            return
        batch.started, batch.status = timestamps.now(), "started"
        failure = None
        try:
            run(batch)
        except Exception:
            failure = traceback.format_exc()
        batch.exc_info, batch.ended = failure, timestamps.now()
        batch.status = "finished" if failure is None else "failed"
