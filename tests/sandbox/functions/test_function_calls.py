"""Calls of single frames beyond the recorded ones: images of all kinds, the SDK, states that expire."""

import base64
import io
from typing import Any

import pytest
from cvat_sdk import models
from PIL import ExifTags, Image

from prefect_cvat.sandbox.api.reply import ApiError
from prefect_cvat.sandbox.functions import tracker_states
from prefect_cvat.sandbox.functions.label_mapping import map_labels
from sandbox.functions.stand_in_gateway import Answer, StandInGateway, record
from sandbox.sandbox_connection import connect

CAR = {"label": "car", "type": "rectangle", "points": [1, 2, 10, 12]}
LIST = "/api/lambda/functions"


@pytest.fixture(autouse=True)
def functions(gateway: StandInGateway) -> None:
    gateway.clear()
    gateway.list_answer = None
    gateway.records = {
        "det": record("det", labels=[{"name": "car", "type": "any"}]),
        "trk": record("trk", "tracker", supported_shape_types="rectangle"),
    }
    gateway.invoke = lambda number, asked: Answer([CAR])


@pytest.fixture
def task(admin: Any) -> Any:
    def task(image: bytes, name: str = "0.png") -> int:
        made = admin.json("POST", "/api/tasks", body={"name": "a task", "labels": [{"name": "car"}]})["id"]
        admin.upload_images(made, {name: image})
        return made

    return task


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def received(gateway: StandInGateway) -> bytes:
    return base64.b64decode(gateway.calls[-1].body["image"])


IMAGES = {
    "0.png": encoded(Image.new("RGBA", (40, 30), (1, 2, 3, 4)), "PNG"),
    "1.png": encoded(Image.new("I;16", (40, 30), 40_000), "PNG"),
    "2.jpg": encoded(Image.new("CMYK", (40, 30), (1, 2, 3, 4)), "JPEG"),
    "3.bmp": encoded(Image.new("RGB", (40, 30), (1, 2, 3)), "BMP"),
    "4.jpg": encoded(Image.new("L", (40, 30), 7), "JPEG"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_image_is_the_file_of_the_frame(gateway, http, task, name):
    call = {"frame": 0, "task": task(IMAGES[name], name)}
    http.json("POST", f"{LIST}/det", call)
    assert received(gateway) == IMAGES[name]
    http.json("POST", f"{LIST}/det", {**call, "roi": [4, 5, 20, 25]})
    with Image.open(io.BytesIO(received(gateway))) as part, Image.open(io.BytesIO(IMAGES[name])) as whole:
        assert (part.format, part.mode, part.size) == (whole.format, whole.mode, (16, 20))


def test_image_that_exif_turns_is_upright(gateway, http, task):
    image = Image.new("RGB", (40, 30), "teal")
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = 6
    call = {"frame": 0, "task": task(encoded(image, "JPEG", exif=exif), "turned.jpg"), "roi": [0, 0, 30, 40]}
    http.json("POST", f"{LIST}/det", call)
    with Image.open(io.BytesIO(received(gateway))) as sent:
        assert sent.size == (30, 40)


def test_official_client_lists_calls_and_starts_functions(gateway, server, task, ended):
    number = task(IMAGES["0.png"])
    with connect(server) as client:
        api = client.api_client.lambda_api
        _, listed = api.list_functions(_parse_response=False)
        assert b'"det"' in listed.data
        request = models.FunctionCallRequest(function="det", task=number, cleanup=True)
        started, _ = api.create_requests(function_call_request=request)
        assert ended({"id": started.id})["status"] == "finished"
        found, _ = api.list_requests()
        assert [each.id for each in found] == [started.id]
        [shape] = client.tasks.retrieve(number).get_annotations().shapes
    assert (shape.source, shape.score) == ("auto", 1.0)


def test_every_label_fits_any_but_a_skeleton():
    def label(name: str, kind: str) -> dict[str, Any]:
        return {"name": name, "type": kind, "attributes": [], "sublabels": []}

    kinds = ["any", "mask", "tag", "rectangle", "skeleton"]
    of_task = [label(kind, kind) for kind in kinds]
    assert map_labels([label(kind, "any") for kind in kinds], of_task, None).keys() == set(kinds) - {
        "skeleton"
    }
    assert map_labels([label("skeleton", "skeleton")], of_task, None).keys() == {"skeleton"}
    assert map_labels([label("mask", "polygon")], of_task, None).keys() == {"mask"}
    assert map_labels([label("tag", "rectangle")], of_task, None) == {}


@pytest.mark.parametrize("state", [None, 1, "a:b", {"x": [1.5, "ä"]}])
def test_states_expire_after_eight_hours(monkeypatch, state):
    signed = tracker_states.sign(state, "trk", b"secret")
    assert tracker_states.unsign(signed, "trk", b"secret") == state
    now = tracker_states.time.time() + 8 * 60 * 60
    for seconds, is_valid in ((-5, True), (5, False)):
        monkeypatch.setattr(tracker_states.time, "time", lambda seconds=seconds: now + seconds)
        if is_valid:
            assert tracker_states.unsign(signed, "trk", b"secret") == state
        else:
            with pytest.raises(ApiError, match="expired"):
                tracker_states.unsign(signed, "trk", b"secret")


@pytest.mark.parametrize("state", ["", ":", "::", "1:!:x", 5, None])
def test_state_that_is_none_is_refused(http, task, state):
    call = {"frame": 0, "task": task(IMAGES["0.png"]), "states": [state]}
    assert http.json("POST", f"{LIST}/trk", call, status=400) == "Invalid or expired tracker state"


def test_a_large_mask_is_answered_soon(gateway, http, task):
    """Recorded: a cell for each pixel, and CVAT needs 3 s for twelve million; here for a million."""
    gateway.records = {"det": record("det", labels=[{"name": "car", "type": "mask"}])}
    gateway.invoke = lambda number, asked: Answer(
        [{"label": "car", "type": "mask", "mask": [0, 1] * 500_000 + [0, 0, 999, 999]}]
    )
    [shape] = http.json("POST", f"{LIST}/det", {"frame": 0, "task": task(IMAGES["0.png"])})["shapes"]
    assert shape["points"] == [1] * 1_000_000 + [0, 0, 999, 999]
