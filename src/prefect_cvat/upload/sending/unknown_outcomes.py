"""Requests whose outcome is unknown: they may have been executed, or may yet be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.annotation_files import NewAnnotation

__all__ = ["AbandonedRequests", "PendingRequest"]


@dataclass
class PendingRequest:
    """A request that adds annotations, and whose outcome is unknown.

    Attributes:
        identities: The identities of its annotations, less those that have been found on the server.
        unsent: The list of annotations to send that these were taken from.
        newest: The highest known id of each kind when it was sent. What it creates has a higher one.
        until: The time (`time.monotonic`) after which the server has executed it or never will.
    """

    identities: Counter[bytes]
    unsent: list[NewAnnotation]
    newest: Mapping[str, int]
    until: float = 0.0

    def is_newer(self, key: AnnotationId) -> bool:
        """Whether an annotation was created after the request was sent."""
        return key[1] > self.newest.get(key[0], 0)


class AbandonedRequests:
    """Requests that the run no longer waits for, and that may have created annotations all the same.

    It counts what it has recognized, so it is made anew for each reading of a job.

    Args:
        requests: The requests.
    """

    def __init__(self, requests: Iterable[PendingRequest]) -> None:
        self._requests = [(request, request.identities.copy()) for request in requests]

    def may_have_created(self, key: AnnotationId) -> bool:
        """Whether an annotation is new enough to come from one of the requests."""
        return any(request.is_newer(key) for request, _ in self._requests)

    def take_created(self, key: AnnotationId, identity: bytes) -> bool:
        """Whether an annotation comes from one of the requests; each of their annotations counts once."""
        for request, remaining in self._requests:
            if remaining[identity] > 0 and request.is_newer(key):
                remaining[identity] -= 1
                return True
        return False
