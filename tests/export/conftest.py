"""Tasks to be exported."""

import pytest

from coco_photos import create_task, read_coco
from export.exported import Everything
from prefect_cvat.auto_annotation import (
    label_spec,
)


@pytest.fixture
def everything_task(make_task):
    def make(frames=1):
        return make_task(frames, labels=Everything.spec.labels)

    return make


@pytest.fixture(scope="module")
def photographs(sandbox, test_data):
    """A task of four photographs of COCO, with its 80 labels."""
    from prefect_cvat import Client

    truth = read_coco(test_data, "instances")
    truth["images"] = truth["images"][:4]
    with Client(sandbox.url) as client:
        client.login((sandbox.user, sandbox.password))
        specs = [label_spec(category["name"], None) for category in truth["categories"]]
        return create_task(client, test_data, truth, specs, chunk_size=2)[0]
