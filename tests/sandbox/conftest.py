from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from cvat_sdk import Client, models
from cvat_sdk.core.proxies.tasks import Task
from PIL import Image

from prefect_cvat.sandbox import Sandbox
from sandbox.sandbox_connection import connect
from sandbox.sandbox_http import Http

TaskMaker = Callable[..., Task]


@pytest.fixture(scope="module")
def server() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Sandbox) -> Iterator[Client]:
    with connect(server) as connected:
        yield connected


@pytest.fixture(scope="module")
def http(server: Sandbox) -> Http:
    return Http(server)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve pictures, each of another size and colour."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for index in range(12):
        path = folder / f"im_{index:02}.{'png' if index % 2 else 'jpg'}"
        Image.new("RGB", (100 + index, 80 + index), (index * 20, 100, 50)).save(path)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def make_task(client: Client, pictures: list[Path]) -> TaskMaker:
    def make(
        labels: Sequence[dict[str, Any]] = ({"name": "car"},),
        *,
        files: Sequence[Path] = (),
        **parameters: Any,
    ) -> Task:
        data = {
            name: parameters.pop(name)
            for name in ("chunk_size", "sorting_method", "start_frame", "stop_frame", "frame_step")
            if name in parameters
        }
        spec = models.TaskWriteRequest._from_openapi_data(name="a task", labels=list(labels), **parameters)
        return client.tasks.create_from_data(
            spec, files or pictures, data_params={"image_quality": 80, **data}
        )

    return make
