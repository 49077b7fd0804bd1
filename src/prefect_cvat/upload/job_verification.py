"""Compares a job with the annotations written to it, and repairs differences."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import NamedTuple

from prefect_cvat.annotations.request_bodies import ServerAnnotation
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.upload.job_comparison import Comparison
from prefect_cvat.upload.job_ledger import JobLedger
from prefect_cvat.upload.sending.job_requests import JobRequests
from prefect_cvat.upload.sending.job_sender import JobSender

__all__ = ["ROUNDS", "EarlierReading", "JobVerification"]

logger = logging.getLogger(__name__)

ROUNDS = 3
"""Maximum number of times that missing annotations are sent again."""


class EarlierReading(NamedTuple):
    """The annotations of a job at an earlier time.

    Attributes:
        annotations: All annotations of the job; None if they are those from before the run.
        began: The time (`time.monotonic`) before the request that read them.
    """

    annotations: Iterable[ServerAnnotation] | None
    began: float


class JobVerification:
    """Compares a job with the annotations written to it; sends missing ones again, removes duplicates.

    Args:
        job_id: The id of the job.
        requests: The requests to the job.
        ledger: The known annotations of the job.
        sender: Sends and removes annotations.
    """

    def __init__(self, job_id: int, requests: JobRequests, ledger: JobLedger, sender: JobSender) -> None:
        self._job_id = job_id
        self._requests = requests
        self._ledger = ledger
        self._sender = sender

    def verify(self, earlier: EarlierReading | None = None) -> Comparison:
        """Verify the job; return the last comparison, whose absent annotations remain missing.

        Args:
            earlier: An earlier reading of the job, used if nothing was sent since and nothing is missing.

        Raises:
            PrefectCvatError: The server refused a request, or did not answer after all attempts.
        """
        result = self._compare_with(earlier) or self._look_for_missing()
        for _ in range(ROUNDS):
            if not result.absent:
                break
            missing = pluralize(len(result.absent), "annotation is", "annotations are")
            logger.warning("job %d: %s missing, and sent again", self._job_id, missing)
            self._sender.send_all(self._ledger.resend(result.absent))
            result = self._look_for_missing()
        self._sender.note_added(result.created)
        self._ledger.accept_substitutes(result)
        if result.surplus:
            self._sender.remove_own(result.surplus)
        return result

    def _compare_with(self, earlier: EarlierReading | None) -> Comparison | None:
        if earlier is None or earlier.began <= self._sender.last_write:
            return None
        result = self._ledger.compare(earlier.annotations)
        return None if result.unseen else result

    def _look_for_missing(self) -> Comparison:
        """Compare the job with what was written, until nothing is missing or reads must show all writes."""
        until, delay = self._sender.seen_after, 0.25
        while True:
            is_last = time.monotonic() >= until
            result = self._ledger.compare(self._requests.read())
            if not result.unseen or is_last:
                return result
            self._sender.pause(min(delay, max(0.0, until - time.monotonic())))
            delay *= 2
