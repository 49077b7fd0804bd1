"""Downloads chunks, the files in which CVAT serves frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from prefect_cvat.cvat.connection import Connection
from prefect_cvat.frames import Quality
from prefect_cvat.http.interruption import Interruption
from prefect_cvat.http.request_sender import BodyValidator

__all__ = ["MAX_CHUNK_BYTES", "ChunkRequests"]

MAX_CHUNK_BYTES = 2**31
"""Maximum size of a chunk in bytes, unless a lower limit follows from its frames."""


class ChunkRequests(Connection):
    """Downloads chunks of tasks and jobs to files."""

    def chunk(
        self,
        task_id: int,
        number: int,
        file: IO[bytes],
        *,
        quality: Quality = "original",
        max_bytes: int = MAX_CHUNK_BYTES,
        validate: BodyValidator | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        """Download a chunk of a task to a file: a zip of images, or a video.

        While a chunk is not ready, the server responds with 429 and `Retry-After`, and this method waits.

        Args:
            task_id: The id of the task.
            number: The index of the chunk; its first frame is `number * data_chunk_size`.
            file: The file, overwritten from its beginning.
            quality: `original` or `compressed`.
            max_bytes: Maximum size of the chunk in bytes.
            validate: Returns why the file is invalid, or None. Invalid files are downloaded again.
            interruption: Interrupts the download, and waits between attempts.

        Raises:
            ResponseTooLargeError: The chunk is larger.
            StorageError: The file cannot be written.
            TransportError: No response arrived, or none that `validate` accepts.
        """
        params: dict[str, str | int] = {"type": "chunk", "number": number, "quality": quality}
        self._chunk(f"/api/tasks/{task_id}/data", file, params, max_bytes, validate, interruption)

    def job_chunk(
        self,
        job_id: int,
        index: int,
        file: IO[bytes],
        *,
        quality: Quality = "original",
        max_bytes: int = MAX_CHUNK_BYTES,
        validate: BodyValidator | None = None,
        interruption: Interruption | None = None,
    ) -> None:
        """Download a chunk of a job, as `chunk` does. Chunk 0 begins at the first frame of the job."""
        params: dict[str, str | int] = {"type": "chunk", "index": index, "quality": quality}
        self._chunk(f"/api/jobs/{job_id}/data", file, params, max_bytes, validate, interruption)

    def _chunk(
        self,
        path: str,
        file: IO[bytes],
        params: Mapping[str, str | int],
        max_bytes: int,
        validate: BodyValidator | None,
        interruption: Interruption | None,
    ) -> None:
        self._transport.download(
            path,
            file,
            params=params,
            headers={"Accept": "*/*"},
            max_bytes=max_bytes,
            validate=validate,
            interruption=interruption,
        )
