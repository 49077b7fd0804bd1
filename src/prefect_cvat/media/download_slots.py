"""Slots of parallel downloads. A download that waits for its next attempt has no slot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from prefect_cvat.exceptions import ApiError, RunStoppedError
from prefect_cvat.http.interruption import Interruption
from prefect_cvat.media.download_limit import DownloadLimit

__all__ = ["MAX_PAUSED", "DownloadSlots"]

TOO_MUCH = (429, 503, 504)
"""Status codes of an overloaded server or its proxy."""


MAX_PAUSED = 4
"""While this many downloads wait for their next attempt, no other one starts: all requests fail."""


class DownloadSlots(Interruption):
    """Slots for downloads. A download that waits for its next attempt gives its slot to another one.

    Args:
        limit: The number of slots.
        changed: Held and notified when a slot becomes free.
        start_others: Starts other downloads in free slots; called while `changed` is held.
    """

    def __init__(
        self, limit: DownloadLimit, changed: threading.Condition, start_others: Callable[[], object]
    ) -> None:
        super().__init__()
        self._limit = limit
        self._changed = changed
        self._start_others = start_others
        self._taken = 0
        self._paused = 0
        self._returning = 0  # paused downloads that wait for a slot again
        self._began = threading.local()  # when the request of this thread began

    @property
    def are_free(self) -> bool:
        """Whether another download may start, while `changed` is held."""
        return (
            not self.is_set
            and self._taken + self._returning < self._limit.number
            and self._paused < MAX_PAUSED
        )

    @property
    def one_is_enough(self) -> bool:
        """Whether a download that is not urgent waits for another one to end, while `changed` is held.

        It does not if the user has set the number of slots.
        """
        return self._taken > 0 and not self._limit.is_fixed

    def take(self) -> None:
        """Take a slot, while `changed` is held."""
        self._taken += 1

    def begin(self) -> None:
        """Record that this thread begins a request."""
        self._began.at = time.monotonic()

    def leave(self, size: int | None, *, others_wait: bool) -> None:
        """Return a slot, while `changed` is held.

        Args:
            size: The size of the downloaded file in bytes; None if the download failed.
            others_wait: Whether another download waits for a slot.
        """
        self._taken -= 1
        if size is not None:
            self._limit.finished(size, time.monotonic(), others_wait=others_wait)

    def pause(self, seconds: float, error: BaseException | None) -> None:
        """Wait before the next attempt, without a slot, and then for a slot.

        Raises:
            RunStoppedError: The downloads were interrupted.
        """
        with self._changed:
            if isinstance(error, ApiError) and error.status in TOO_MUCH:
                self._limit.refused(self._began.at, time.monotonic())
            self._taken -= 1
            self._paused += 1
            self._start_others()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.is_set, seconds)
            self._returning += 1
            self._changed.wait_for(lambda: self.is_set or self._taken < self._limit.number)
            self._returning -= 1
            self._paused -= 1
            self._taken += 1
            if self.is_set:
                raise RunStoppedError("the run was stopped before a download was tried again")
            self.begin()
