"""Adapts the number of parallel downloads of chunks to their throughput."""

from __future__ import annotations

from math import inf

from prefect_cvat.options.execution_options import MAX_DOWNLOADS

__all__ = ["DownloadLimit"]

FIRST_DOWNLOADS = 4
"""The initial number, as in cvat-sdk."""

USEFUL_SHARE = 0.5
"""One more download is kept if throughput grows by this share of the growth on an idle link."""

SLOW_SHARE = 0.5
"""The number is halved if throughput falls to this share of the previous throughput with it."""

ROUNDS_BETWEEN_TRIALS = 4
"""The number of rounds after a failed trial or a reduction before one more download is tried again."""


class DownloadLimit:
    """The maximum number of parallel downloads: fixed, or adapted to the server and the link.

    As in TCP's congestion control, it grows by one and shrinks by half:

    - After each round of downloads one more is tried. It is kept if throughput grows by at least half of the
      growth without any other limit, as on a long link: from 4 to 5 by an eighth.
    - It is halved if the server is overloaded (429, 503, 504), once for all downloads that began before, and
      if throughput falls to half.

    A round is twice as many downloads as may run in parallel. Downloads that began under another limit do not
    count, nor do those after which no chunk was waiting, because the limit did not slow them down.

    Pure: the caller passes the time. Not thread-safe.

    Args:
        fixed: A fixed number; None adapts it.

    Attributes:
        is_fixed: Whether the number is fixed.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.is_fixed = fixed is not None
        self._number = FIRST_DOWNLOADS if fixed is None else fixed
        self._usual: float | None = None  # throughput with this number, in bytes a second
        self._before_trial: float | None = None  # throughput with one less, during a trial
        self._rounds_to_wait = 0
        self._shrunk_at = -inf
        # the round: its start, what was downloaded since, and the number of downloads that do not count yet
        self._began: float | None = None
        self._finished = self._bytes = self._skip = 0

    @property
    def number(self) -> int:
        """The maximum number of downloads at a time, 1 to `MAX_DOWNLOADS`."""
        return self._number

    def finished(self, size: int, now: float, *, others_wait: bool) -> None:
        """Record a complete download.

        Args:
            size: Its size in bytes.
            now: The time in seconds.
            others_wait: Whether another chunk waits for a slot.
        """
        if self.is_fixed:
            return
        if not others_wait:
            self._begin_round(skip=0)
        elif self._skip:
            self._skip -= 1
        elif self._began is None:
            self._began = now
        else:
            self._finished += 1
            self._bytes += size
            if self._finished >= 2 * self._number and now > self._began:
                self._end_round(self._bytes / (now - self._began))

    def refused(self, began: float, now: float) -> None:
        """Record a response of an overloaded server.

        Args:
            began: The start of the refused request, in seconds.
            now: The time in seconds.
        """
        if not self.is_fixed and began >= self._shrunk_at:
            self._halve(now)

    def _end_round(self, throughput: float) -> None:
        before, self._before_trial = self._before_trial, None
        if before is not None:
            if throughput < before * (1 + USEFUL_SHARE / (self._number - 1)):
                self._usual = before
                self._rounds_to_wait = ROUNDS_BETWEEN_TRIALS
                self._set(self._number - 1)
                return
            self._usual = None
        if self._usual is not None and throughput <= SLOW_SHARE * self._usual:
            self._halve(self._began or 0.0)
            return
        self._usual = throughput if self._usual is None else (self._usual + throughput) / 2
        if self._rounds_to_wait:
            self._rounds_to_wait -= 1
        elif self._number < MAX_DOWNLOADS:
            self._before_trial, self._usual = self._usual, None
            self._set(self._number + 1)
            return
        self._begin_round(skip=0)

    def _halve(self, now: float) -> None:
        self._shrunk_at = now
        self._usual = self._before_trial = None
        self._rounds_to_wait = ROUNDS_BETWEEN_TRIALS
        self._set(max(1, self._number // 2))

    def _set(self, number: int) -> None:
        self._begin_round(skip=max(number, self._number) - 1)
        self._number = number

    def _begin_round(self, *, skip: int) -> None:
        """Begin to measure with the next complete download, after skipping `skip`."""
        self._skip = skip
        self._began = None
        self._finished = self._bytes = 0
