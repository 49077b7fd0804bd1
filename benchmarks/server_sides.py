"""The sides of `server.py`, each in a process of its own: ours, cvat-sdk, and a bare fetch of the chunks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3
from benchmark_functions import free
from server_rows import Row
from servers import log_in, measured

AT_ONCE = 4
"""Chunks that the SDK, and so the bare fetch, asks for at a time."""


def run_side(side: str, row: Row, url: str, task_id: int) -> dict[str, float]:
    """Run a side; return what it took, with the number of its requests after it has logged in."""
    prepare = {"ours": _ours, "again": _ours, "sdk": _sdk, "bare": _bare}[side]
    work = prepare(row, url, task_id)
    urllib3.request("DELETE", f"{url}/sandbox/requests")
    result = measured(work)
    counts = urllib3.request("GET", f"{url}/sandbox/requests").json()
    return {**result, "requests": counts["total"], "by_route": counts["by_route"]}


def _ours(row: Row, url: str, task_id: int) -> Callable[[], Any]:
    from prefect_cvat import annotate_task
    from prefect_cvat import auto_annotation as aa

    client = log_in(url)
    function = free.make(aa, row.boxes, decode=row.are_decoded)
    return lambda: annotate_task(client, task_id, function)


def _sdk(row: Row, url: str, task_id: int) -> Callable[[], Any]:
    import cvat_sdk.auto_annotation as aa
    from cvat_sdk.core.client import Client, Config

    client = Client(url, config=Config(cache_dir=Path(tempfile.mkdtemp())))
    client.login(("admin", "admin"))
    function = free.make(aa, row.boxes, decode=row.are_decoded)
    return lambda: aa.annotate_task(client, task_id, function)


def _bare(row: Row, url: str, task_id: int) -> Callable[[], Any]:
    user = {"username": "admin", "password": "admin"}
    key = urllib3.request("POST", f"{url}/api/auth/login", json=user).json()["key"]
    pool = urllib3.PoolManager(maxsize=AT_ONCE, headers={"Authorization": f"Token {key}"})

    def fetch(number: int) -> None:
        path = f"/api/tasks/{task_id}/data?type=chunk&number={number}&quality=original"
        answer = pool.request("GET", url + path, preload_content=False)
        if answer.status != 200:
            raise RuntimeError(f"chunk {number}: {answer.status}")
        for _ in answer.stream(2**18):
            pass

    def work() -> None:
        chunks = range(-(-row.media.frames // row.media.chunk_size))
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(fetch, chunks))

    return work
