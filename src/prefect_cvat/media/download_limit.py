"""How many chunks are downloaded at a time, found out from how fast they come."""

from __future__ import annotations

from math import inf

from prefect_cvat.options.execution_options import MAX_DOWNLOADS

__all__ = ["DownloadLimit"]

FIRST_DOWNLOADS = 4
"""The number to start with, which is also that of cvat-sdk."""

USEFUL_SHARE = 0.5
"""One more download is kept if throughput grows by this share of what it would grow by on an idle link."""

SLOW_SHARE = 0.5
"""The number is halved if throughput falls to this share of what it was with the same number."""

ROUNDS_BETWEEN_TRIALS = 4
"""After one more has not paid, or less was necessary, so many rounds pass before one more is tried again."""


class DownloadLimit:
    """The maximum number of downloads at a time: a given one, or one that follows the server and the link.

    As TCP's congestion control does, it grows by one and shrinks by half:

    - One more is tried after each round of downloads, and kept where throughput grows by at least half of
      what it would grow by if nothing else limited it, as on a long link: from 4 to 5 by an eighth.
    - It is halved where the server answers that it is asked for too much (429, 503, 504), once for all
      downloads that began before, and where throughput falls to half of what it was.

    A round is twice as many downloads as are allowed at a time. Those that began under another limit do not
    count, and neither do those after which nothing waited to be downloaded: then not the limit was what held
    them up.

    Pure: the clock is the caller's. Not for several threads.

    Args:
        fixed: A fixed number; None finds it out.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self._is_fixed = fixed is not None
        self._number = FIRST_DOWNLOADS if fixed is None else fixed
        self._usual: float | None = None  # throughput with this number, in bytes a second
        self._before_trial: float | None = None  # throughput with one less, while one more is tried
        self._rounds_to_wait = 0
        self._shrunk_at = -inf
        # the round: when it began, what was downloaded since, and how many downloads do not count yet
        self._began: float | None = None
        self._finished = self._bytes = self._skip = 0

    @property
    def number(self) -> int:
        """The maximum number of downloads at a time, 1 to `MAX_DOWNLOADS`."""
        return self._number

    def finished(self, size: int, now: float, *, others_wait: bool) -> None:
        """Learn from a download that is complete.

        Args:
            size: Its size in bytes.
            now: The time in seconds.
            others_wait: Whether another chunk waits for its place.
        """
        if self._is_fixed:
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
        """Learn that the server is asked for too much.

        Args:
            began: When the request began that it has refused, in seconds.
            now: The time in seconds.
        """
        if not self._is_fixed and began >= self._shrunk_at:
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
        """Begin to measure with the next download that completes, after `skip` more."""
        self._skip = skip
        self._began = None
        self._finished = self._bytes = 0
