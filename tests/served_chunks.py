"""The chunks that the client fetches: watched, or changed after the download, as if by the server."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from prefect_cvat import Client
from prefect_cvat.http.transport import Transport

Parameters = Mapping[str, Any]


def with_chunks(monkeypatch: pytest.MonkeyPatch, change: Callable[[Parameters, bytes], bytes | None]) -> None:
    """Pass each downloaded chunk and its request to a function, which returns the chunk to use."""
    original = Transport.download

    def download(self, path, file, *, params=None, **options):
        original(self, path, file, params=params, **options)
        if params and params.get("type") == "chunk":
            changed = change(params, file.read())
            if changed is not None:
                file.seek(0)
                file.truncate()
                file.write(changed)
            file.seek(0)

    monkeypatch.setattr(Transport, "download", download)


def without_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail where a chunk is asked for."""

    def chunk(*_, **__):
        pytest.fail("it fetched")

    monkeypatch.setattr(Client, "chunk", chunk)
    monkeypatch.setattr(Client, "job_chunk", chunk)


def chunk_of(client: Client, task_id: int, number: int, **options: Any) -> bytes:
    """A chunk of a task."""
    file = io.BytesIO()
    client.chunk(task_id, number, file, **options)
    return file.getvalue()
