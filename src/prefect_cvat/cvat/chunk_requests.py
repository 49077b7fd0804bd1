"""Downloads of chunks, the files in which CVAT serves frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO

from prefect_cvat.cvat.connection import Connection
from prefect_cvat.frames import Quality
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
    ) -> None:
        """Write a chunk of a task to a file, as the server serves it: a zip of images, or a video.

        A chunk that the server has yet to make is waited for (it answers 429 with `Retry-After`).

        Args:
            task_id: The task.
            number: Frames `number * data_chunk_size` and following.
            file: Where to write it, from the beginning; the chunk is complete when this returns.
            quality: `original` or `compressed`.
            max_bytes: How many bytes it may have.
            validate: Says why what is in the file cannot be a chunk, or None; then it is asked for again.

        Raises:
            ResponseTooLargeError: It has more bytes.
            StorageError: The file does not take it.
            TransportError: What came was no chunk, each time.
        """
        params: dict[str, str | int] = {"type": "chunk", "number": number, "quality": quality}
        self._chunk(f"/api/tasks/{task_id}/data", file, params, max_bytes, validate)

    def job_chunk(
        self,
        job_id: int,
        index: int,
        file: IO[bytes],
        *,
        quality: Quality = "original",
        max_bytes: int = MAX_CHUNK_BYTES,
        validate: BodyValidator | None = None,
    ) -> None:
        """A chunk of a job, as `chunk`: by its number in the job, whose chunks begin at its first frame."""
        params: dict[str, str | int] = {"type": "chunk", "index": index, "quality": quality}
        self._chunk(f"/api/jobs/{job_id}/data", file, params, max_bytes, validate)

    def _chunk(
        self,
        path: str,
        file: IO[bytes],
        params: Mapping[str, str | int],
        max_bytes: int,
        validate: BodyValidator | None,
    ) -> None:
        self._transport.download(
            path,
            file,
            params=params,
            headers={"Accept": "*/*"},
            max_bytes=max_bytes,
            validate=validate,
        )
