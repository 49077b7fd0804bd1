"""A client of a sandbox that has no faults before and after the test."""

from collections.abc import Callable, Iterator

import pytest
from cvat_sdk.core.proxies.tasks import Task

from prefect_cvat.sandbox import Sandbox
from sandbox.faults.faulty_sandbox import Peer


@pytest.fixture(scope="module")
def task(make_task: Callable[..., Task]) -> Task:
    return make_task(chunk_size=4)


@pytest.fixture
def peer(server: Sandbox, task: Task) -> Iterator[Peer]:
    server.faults.set([])
    peer = Peer(server, task)
    peer.send("DELETE", peer.annotations)
    yield peer
    server.faults.clear()
    server.faults.wait()
