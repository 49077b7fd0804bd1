"""`prefect-cvat gateway` behind the sandbox: built-in functions, from the API of CVAT to the model and back."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import skimage.data
from PIL import Image

from pictures import png
from polling import until
from prefect_cvat import Client
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.masks import decode_mask
from prefect_cvat.sandbox import Nuclio, Sandbox

pytest.importorskip("cv2")

FUNCTIONS = ("nanodet_detection", "grabcut_interaction", "optical_flow_tracking")
SECRET = "a-long-word-that-only-the-two-know"
LONGEST_START = 90
"""Seconds until each function has been made once."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The administrator of a sandbox that calls a gateway."""
    log = tmp_path_factory.mktemp("gateway") / "log.txt"
    chosen = [word for name in FUNCTIONS for word in ("--function", name)]
    environment = {**os.environ, "PREFECT_CVAT_GATEWAY_SECRET": SECRET}
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "prefect_cvat", "gateway", "--port", "0", *chosen],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            found = (re.fullmatch(r"ready http://127\.0\.0\.1:(\d+)\s*", line) for line in process.stdout)
            ready = next(filter(None, found), None)
            assert ready is not None, log.read_text()
            nuclio = Nuclio(port=int(ready[1]), function_namespace=SECRET)
            with Sandbox(nuclio=nuclio) as server, Client(server.url) as client:
                client.login((server.user, server.password))
                listed = partial(client.json, "GET", "/api/lambda/functions")
                until(lambda: len(listed()) == len(FUNCTIONS), seconds=LONGEST_START, every=0.2)
                yield client
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def call(client: Client) -> Callable[..., Any]:
    def call(function: str, **body: Any) -> Any:
        return client.json("POST", f"/api/lambda/functions/{function}", body=body)

    return call


@pytest.fixture(scope="module")
def cat(client: Client) -> int:
    task = client.create_task("a cat", [label_spec("cat", None), label_spec("dog", None)])
    client.upload_images(task.id, {"0.png": png(skimage.data.chelsea()), "1.png": png(skimage.data.coffee())})
    return task.id


def test_list(client):
    listed = {function["id"]: function for function in client.json("GET", "/api/lambda/functions")}
    assert {name: function["kind"] for name, function in listed.items()} == {
        "nanodet_detection": "detector",
        "grabcut_interaction": "interactor",
        "optical_flow_tracking": "tracker",
    }
    assert {"name": "cat", "type": "rectangle", "attributes": []} in listed["nanodet_detection"]["labels_v2"]
    assert listed["grabcut_interaction"]["version"] == 2
    assert "rectangle" in listed["optical_flow_tracking"]["supported_shape_types"]


def test_detector(client, call, cat):
    [found] = call("nanodet_detection", frame=0, task=cat)["shapes"]
    [label, _] = client.labels(cat)
    assert (found["type"], found["label_id"], found["source"]) == ("rectangle", label.id, "auto")
    assert call("nanodet_detection", frame=0, task=cat, threshold=0.99)["shapes"] == []


def test_interactor(call, cat):
    prompts = {"pos_points": [], "neg_points": [], "obj_bbox": [[90, 20], [400, 290]]}
    [mask] = call("grabcut_interaction", frame=0, task=cat, **prompts)["shapes"]
    pixels = decode_mask(mask["points"], image_width=451, image_height=300)
    assert pixels[20:290, 90:400].sum() == pixels.sum() > 5_000
    # in a region the same object is in the same place
    prompts["obj_bbox"] = [[100, 40], [380, 280]]
    [part] = call("grabcut_interaction", frame=0, task=cat, roi=[50, 10, 440, 300], **prompts)["shapes"]
    assert decode_mask(part["points"], image_width=451, image_height=300)[40:280, 100:380].any()


def test_tracker(client, call):
    photo = Image.fromarray(skimage.data.astronaut())
    task = client.create_task("moving", [label_spec("face", None)])
    client.upload_images(task.id, {f"{x}.png": png(photo.crop((x, 0, 400 + x, 400))) for x in (0, 5)})
    face = {"type": "rectangle", "points": [170, 40, 290, 220]}
    begun = call("optical_flow_tracking", frame=0, task=task.id, shapes=[face])
    tracked = call("optical_flow_tracking", frame=1, task=task.id, states=begun["states"])
    assert tracked["shapes"][0]["points"] == pytest.approx([165, 40, 285, 220], abs=2)
    assert len(tracked["states"]) == 1


def test_batch(client, cat):
    started = client.json("POST", "/api/lambda/requests", body={"function": "nanodet_detection", "task": cat})

    def ended():
        [batch, *_] = client.json("GET", "/api/lambda/requests")
        return batch["status"] not in ("queued", "started") and batch

    batch = until(ended, seconds=60, every=0.05)
    assert (batch["id"], batch["status"]) == (started["id"], "finished")
    assert [(shape["frame"], shape["score"]) for shape in client.task_annotations(cat).shapes] == [(0, 1.0)]
