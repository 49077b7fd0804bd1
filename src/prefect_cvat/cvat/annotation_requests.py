"""Reads and writes annotations, of jobs and of tasks."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from prefect_cvat.cvat.annotation_stream import MAX_FILE_BYTES, has_id, stream_annotations
from prefect_cvat.cvat.connection import Connection
from prefect_cvat.cvat.response_checks.annotation_checks import annotation_error
from prefect_cvat.cvat.response_checks.response_parsing import invalid_response, parse_annotations
from prefect_cvat.exceptions import InvalidResponseError
from prefect_cvat.http.json_limits import MAX_JSON_BYTES, MAX_LIST_BYTES
from prefect_cvat.models import LabeledData

__all__ = ["AnnotationRequests"]


class AnnotationRequests(Connection):
    """Reads and writes annotations."""

    def task_annotations(self, task_id: int) -> LabeledData:
        """All annotations of a task. Annotations in several jobs appear once."""
        path = f"/api/tasks/{task_id}/annotations"
        answer = self._transport.json("GET", path, max_bytes=MAX_LIST_BYTES)
        return parse_annotations(answer, path)

    def iter_task_annotations(
        self, task_id: int, *, max_bytes: int = MAX_FILE_BYTES, is_repeated_when_slow: bool = True
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the annotations of a task one at a time, as `iter_job_annotations` does.

        Args:
            task_id: The id of the task.
            max_bytes: Maximum size of the response in bytes.
            is_repeated_when_slow: Whether to repeat the request after 504 and after a timeout.
        """
        path = f"/api/tasks/{task_id}/annotations"
        yield from self._iter_annotations(path, max_bytes, is_repeated_when_slow=is_repeated_when_slow)

    def job_annotations(self, job_id: int) -> LabeledData:
        """All annotations of a job."""
        path = f"/api/jobs/{job_id}/annotations"
        answer = self._transport.json("GET", path, max_bytes=MAX_LIST_BYTES)
        return parse_annotations(answer, path)

    def iter_job_annotations(self, job_id: int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the annotations of a job one at a time, each with its kind: `tags`, `shapes` or `tracks`.

        The response is first downloaded to disk: a job may have millions of annotations.
        """
        yield from self._iter_annotations(f"/api/jobs/{job_id}/annotations")

    def _iter_annotations(
        self, path: str, max_bytes: int = MAX_FILE_BYTES, *, is_repeated_when_slow: bool = True
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        with tempfile.SpooledTemporaryFile(max_size=2**20) as file:
            self._transport.download(
                path, file, max_bytes=max_bytes, is_repeated_when_slow=is_repeated_when_slow
            )
            for kind, annotation in stream_annotations(file, path):
                if (problem := annotation_error(kind, annotation)) is not None:
                    raise invalid_response(path, problem)
                yield kind, annotation

    def create_job_annotations(self, job_id: int, body: bytes | Mapping[str, Any]) -> LabeledData:
        """Add annotations to a job, all of them or none; return them with their ids.

        CVAT does not recognize a repeated request, and executes a request even if its client is gone. So
        after a time-out, read the job before sending again. This method repeats a request only after 429.
        """
        return self._create_annotations(f"jobs/{job_id}", body)

    def create_task_annotations(self, task_id: int, body: bytes | Mapping[str, Any]) -> LabeledData:
        """Add annotations to the jobs of a task by their frames, as `create_job_annotations` does.

        CVAT 2.73 drops annotations on frames without a job, without an error.
        """
        return self._create_annotations(f"tasks/{task_id}", body)

    def delete_job_annotations(self, job_id: int, body: bytes | Mapping[str, Any]) -> None:
        """Delete annotations from a job. The body has them as the server sent them, with their ids."""
        self._patch_annotations(f"jobs/{job_id}", "delete", body)

    def _create_annotations(self, owner: str, body: bytes | Mapping[str, Any]) -> LabeledData:
        stored = self._patch_annotations(owner, "create", body)
        if not all(has_id(each) for kind in (stored.tags, stored.shapes, stored.tracks) for each in kind):
            raise InvalidResponseError(
                f"the server's answer to create annotations of {owner} is not what CVAT sends: one has no id"
            )
        return stored

    def _patch_annotations(self, owner: str, action: str, body: bytes | Mapping[str, Any]) -> LabeledData:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self._transport.json(
            "PATCH",
            f"/api/{owner}/annotations",
            params={"action": action},
            body=content,
            # the response is the request with ids and default values added
            max_bytes=min(MAX_JSON_BYTES + 8 * len(content), MAX_LIST_BYTES),
        )
        return parse_annotations(answer, f"{action} annotations of {owner}")
