"""The requests that write to a job: as large as the way to the server lets through."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from prefect_cvat.annotation_requests import Standing, json_size, request_body, request_length
from prefect_cvat.client import Client
from prefect_cvat.exceptions import (
    ApiError,
    BadRequestError,
    InvalidResponseError,
    ServerError,
    TooManyRequestsError,
    TransportError,
)
from prefect_cvat.models import LabeledData

__all__ = ["UNKNOWN_FATE", "JobRequests"]

UNKNOWN_FATE = (TransportError, ServerError, TooManyRequestsError, InvalidResponseError)
"""The errors after which a write may have been carried out, or may yet be."""

Named = TypeVar("Named", bound=tuple[object, dict[str, Any]])
"""An annotation after something that it is known by: a tuple of two."""


class JobRequests:
    """Adds annotations to a job and deletes them.

    Args:
        client: The server.
        job_id: The job.
        most_annotations: The most annotations of one request.
        most_bytes: The most bytes of one request. Where a proxy on the way takes fewer, they are halved.
        attempts: How often a deletion is tried whose fate is unknown each time.
        retry_delay: Seconds to wait before the second attempt; doubled each time, up to 30.
    """

    def __init__(
        self,
        client: Client,
        job_id: int,
        *,
        most_annotations: int,
        most_bytes: int,
        attempts: int,
        retry_delay: float,
    ) -> None:
        self._client = client
        self._job_id = job_id
        self._most_annotations = most_annotations
        self._most_bytes = most_bytes
        self._attempts = attempts
        self._retry_delay = retry_delay

    def read(self) -> Iterator[Standing]:
        """All that stands in the job, one after the other."""
        return self._client.each_job_annotation(self._job_id)

    def first_of(self, annotations: Sequence[Named]) -> Sequence[Named]:
        """As many of the annotations, from the first on, as one request takes."""
        return annotations[: request_length(annotations, self._most_annotations, self._most_bytes)]

    def create(self, part: Sequence[tuple[object, dict[str, Any]]]) -> LabeledData:
        """Add annotations in one request, once; return them as they are stored."""
        return self._client.create_job_annotations(self._job_id, request_body(part))

    def make_smaller(self, part: Sequence[tuple[object, dict[str, Any]]], error: ApiError) -> None:
        """Where a proxy on the way found a request too large, make the next ones half as large.

        Raises:
            ApiError: That is not what it was refused for, or it cannot be smaller.
        """
        is_too_large = error.status == 413 or (error.status == 400 and error.is_html)
        if not is_too_large or len(part) == 1:
            raise error
        self._most_bytes = sum(json_size(annotation) for _, annotation in part) // 2

    def delete(self, annotations: Sequence[Standing]) -> Iterator[Sequence[Standing]]:
        """Delete annotations by their ids, and tell of each request that was carried out what it deleted."""
        start = 0
        while start < len(annotations):
            part = self.first_of(annotations[start : start + self._most_annotations])
            try:
                self._delete(part)
            except BadRequestError as error:
                self.make_smaller(part, error)
            else:
                start += len(part)
                yield part

    def _delete(self, part: Sequence[Standing]) -> None:
        """Deleting what is gone does nothing, so this may be tried again as it is."""
        body: dict[str, list[dict[str, Any]]] = {"tags": [], "shapes": [], "tracks": []}
        for kind, annotation in part:
            body[kind].append(annotation)
        for attempt in range(1, self._attempts + 1):
            try:
                self._client.delete_job_annotations(self._job_id, body)
            except UNKNOWN_FATE:
                if attempt == self._attempts:
                    raise
                self.wait(attempt)
            else:
                return

    def wait(self, attempt: int) -> None:
        """Wait after the given attempt (1 is the first)."""
        time.sleep(min(30.0, self._retry_delay * 2.0 ** (attempt - 1)))
