"""Requests of unknown outcome: they may have been executed, or may still be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.annotation_files import NewAnnotation

__all__ = ["AbandonedRequests", "PendingRequest"]


@dataclass
class PendingRequest:
    """A request of unknown outcome that adds annotations.

    Attributes:
        identities: The identities of its annotations, without those found on the server.
        unsent: The list of annotations to send from which they were taken.
        newest: The highest known id of each kind when it was sent. New annotations have higher ids.
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
    """Requests that the run no longer waits for, and that may still have created annotations.

    It counts the annotations it recognizes, so each reading of a job needs a new instance.

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
