"""Creates tasks and uploads their images."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from prefect_cvat.cvat.connection import Connection
from prefect_cvat.cvat.response_checks.response_parsing import parse_response
from prefect_cvat.exceptions import MediaError, RequestTimeoutError
from prefect_cvat.models import PatchedLabelRequest, Task

__all__ = ["TaskUpload"]

FILES_PER_REQUEST = 50
POLL_SECONDS = 0.2


class TaskUpload(Connection):
    """Creates tasks and uploads their images."""

    def create_task(self, name: str, labels: Sequence[PatchedLabelRequest], **fields: Any) -> Task:
        """Create a task without data; `fields` are further CVAT fields, such as `segment_size`."""
        body = {
            "name": name,
            "labels": [label.model_dump(mode="json", exclude_none=True) for label in labels],
            **fields,
        }
        return parse_response(Task, self._transport.json("POST", "/api/tasks", body=body), "the new task")

    def upload_images(
        self, task_id: int, images: Mapping[str, bytes], *, timeout: float = 600.0, **fields: Any
    ) -> None:
        """Upload the images or one video of a task, and wait until the server has processed them.

        Args:
            task_id: The id of a task without data.
            images: The content of the files, by file name. The server sorts them by name.
            timeout: Seconds to wait for the server.
            fields: Further CVAT fields, such as `chunk_size`.

        Raises:
            MediaError: The server could not process the images.
            RequestTimeoutError: The server did not process them in time.
        """
        path = f"/api/tasks/{task_id}/data/"
        settings = {"image_quality": 95, "use_cache": True, **fields}
        self._transport.json("POST", path, headers={"Upload-Start": ""})
        for start in range(0, len(images), FILES_PER_REQUEST):
            part = list(images.items())[start : start + FILES_PER_REQUEST]
            files = {f"client_files[{i}]": item for i, item in enumerate(part)}
            self._transport.post_files(
                path,
                fields={"image_quality": str(settings["image_quality"])},
                files=files,
                step="Upload-Multiple",
            )
        answer = self._transport.json("POST", path, body=settings, headers={"Upload-Finish": ""})
        request = f"/api/requests/{quote(parse_response(_Request, answer, path).rq_id, safe='')}"
        deadline = time.monotonic() + timeout
        while (status := self._request_status(request)).status not in ("finished", "failed"):
            if time.monotonic() > deadline:
                raise RequestTimeoutError(
                    f"the images of task {task_id} were not processed in {timeout:.0f} s"
                )
            time.sleep(POLL_SECONDS)
        if status.status == "failed":
            raise MediaError(f"the server could not process the images of task {task_id}: {status.message}")

    def _request_status(self, path: str) -> _RequestStatus:
        return parse_response(_RequestStatus, self._transport.json("GET", path), path)


class _Request(BaseModel):
    """CVAT's response when a worker continues the upload: the id of the background request."""

    rq_id: str


class _RequestStatus(BaseModel):
    status: str
    message: str = ""
