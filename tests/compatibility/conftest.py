"""A sandbox with two clients on it, the SDK's and ours, and annotations made comparable."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cvat_sdk
import pytest
from cvat_sdk.core.client import Config

from compatibility.libraries import OURS, SDK, Library, Pairing, a_function
from compatibility.outputs import labels, spec
from pictures import picture
from prefect_cvat import Client
from prefect_cvat.sandbox import Sandbox

Annotate = Callable[..., None]
Read = Callable[[int], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def sdk_client(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[cvat_sdk.Client]:
    config = Config(cache_dir=tmp_path_factory.mktemp("cache"), status_check_period=0.02)
    with cvat_sdk.Client(sandbox.url, config=config) as client:
        client.login((sandbox.user, sandbox.password))
        yield client


@pytest.fixture(scope="session")
def our_client(sandbox: Sandbox) -> Iterator[Client]:
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        yield client


@pytest.fixture(scope="session")
def annotate(sdk_client: cvat_sdk.Client, our_client: Client) -> Annotate:
    """Run a function on a task with the `annotate_task` of a library."""

    def annotate(lib: Library, task_id: int, function: Any, **options: Any) -> None:
        client = sdk_client if lib is SDK else our_client
        lib.cvataa.annotate_task(client, task_id, function, **options)

    return annotate


@pytest.fixture(scope="session")
def new_task(our_client: Client) -> Callable[..., int]:
    """Create a task with these labels; tasks of equal pictures are equal."""

    def new_task(labels: list[Any], images: dict[str, bytes] | None = None, **fields: Any) -> int:
        task = our_client.create_task("a task", labels, **fields)
        if images is None:
            images = {f"{i:04}.png": picture(64, 48, seed=i) for i in range(3)}
        our_client.upload_images(task.id, images, chunk_size=2)
        return task.id

    return new_task


@pytest.fixture(scope="session")
def read(sdk_client: cvat_sdk.Client) -> Read:
    """Read a task's annotations with the SDK: names for ids, in an order that does not depend on those."""

    def read(task_id: int) -> list[dict[str, Any]]:
        task = sdk_client.tasks.retrieve(task_id)
        labels = {label.id: label for label in task.get_labels()}
        data = task.get_annotations()
        found = [
            {"kind": kind, **_comparable(item.to_dict(), labels[item.label_id])}
            for kind, items in (("tag", data.tags), ("shape", data.shapes))
            for item in items
        ]
        return sorted(found, key=repr)

    return read


@pytest.fixture(scope="module")
def task_id(new_task) -> int:
    return new_task(labels(OURS, with_ids=False), {"0.png": picture()})


@pytest.fixture
def run(annotate, read, task_id) -> Callable[..., None]:
    """Run a function that returns this output; the task is empty before and, if the run fails, afterwards."""

    def run(pairing: Pairing, output: Callable[[Library], Any], **options: Any) -> None:
        function = a_function(spec(pairing.written), lambda context, image: output(pairing.written))
        assert read(task_id) == []
        try:
            annotate(pairing.run, task_id, function, **options)
        except Exception:
            assert read(task_id) == []
            raise

    return run


@pytest.fixture
def emptied(our_client: Client, task_id: int) -> Iterator[None]:
    """Remove all annotations from the task of a module afterwards."""
    yield
    [job] = our_client.jobs(task_id)
    everything = our_client.job_annotations(job.id)
    our_client.delete_job_annotations(job.id, {"tags": everything.tags, "shapes": everything.shapes})


def _comparable(item: dict[str, Any], label: Any) -> dict[str, Any]:
    names = {attribute.id: attribute.name for attribute in label.attributes}
    sublabels = {sublabel.id: sublabel for sublabel in getattr(label, "sublabels", ())}
    result = {name: value for name, value in item.items() if name not in ("id", "label_id")}
    result["label"] = label.name
    result["attributes"] = sorted((names[value["spec_id"]], value["value"]) for value in item["attributes"])
    elements = [_comparable(part, sublabels[part["label_id"]]) for part in item.get("elements") or ()]
    result["elements"] = sorted(elements, key=lambda element: element["label"])
    return result


@pytest.fixture(scope="session")
def guide() -> Path:
    """The guide of the system, as the plain text of a web page."""
    beside = Path(__file__).parents[3] / "shared" / "GUIDE.md"
    path = Path(os.environ.get("PREFECT_CVAT_GUIDE", beside))
    if not path.is_file():
        pytest.skip(f"no guide: {path} is not a file (set PREFECT_CVAT_GUIDE)")
    return path
