"""The requests that CVAT 2.73 was seen to send to Nuclio, sent to the gateway with their own headers.

Their images are shortened to a digest; others are sent in their place. Where the stand-in of the recording
answered 200, so must the gateway.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import requests

from cvat_calls import encoded, stored
from gateway_functions import Detection, Interaction, Tracking
from pictures import picture
from prefect_cvat.gateway import Gateway, GatewayConfiguration

FOLDER = Path(
    os.environ.get("PREFECT_CVAT_WIRE_FUNCTIONS") or Path(__file__).parents[3] / "shared" / "wire-functions"
)
KINDS = {"det": "detector", "sam": "interactor", "trk": "tracker"}


def recorded() -> list[Any]:
    """Each call of a detector, an interactor or a tracker of the present form, once."""
    found: dict[str, Any] = {}
    for file in sorted(FOLDER.glob("0*.json")) if FOLDER.is_dir() else []:
        content = json.loads(file.read_text())
        for case in content.get("cases", [content]):
            for exchange in case.get("gateway", []):
                request = exchange["request"]
                body = request.get("body")
                name = request["headers"].get("x-nuclio-function-name")
                if name in KINDS and isinstance(body, dict) and "image" in body:
                    form = json.dumps([name, {**body, "image": None, "states": len(body.get("states", ()))}])
                    found.setdefault(form, pytest.param(request, id=f"{file.name[:3]}-{name}-{len(found)}"))
    return list(found.values())


@pytest.fixture(scope="module")
def gateway():
    functions = {"det": Detection(), "sam": Interaction(), "trk": Tracking()}
    with Gateway(GatewayConfiguration(port=0), functions=functions) as gateway:
        yield gateway


def send(gateway, request, **changes):
    headers = {
        **request["headers"],
        "x-nuclio-function-namespace": gateway.secret.get_secret_value(),
    }
    headers = {name: value for name, value in headers.items() if name not in ("Host", "Content-Length")}
    body = {**request["body"], **changes} if request["body"] else None
    return requests.request(
        request["method"],
        f"{gateway.url}{request['path']}",
        headers=headers,
        data=None if body is None else json.dumps(body).encode(),
        timeout=10,
    )


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there (set PREFECT_CVAT_WIRE_FUNCTIONS)")
def test_there_are_calls_of_each_kind():
    names = {param.values[0]["headers"]["x-nuclio-function-name"] for param in recorded()}
    assert names == set(KINDS)


@pytest.mark.parametrize("request_", recorded())
def test_recorded_call(gateway, request_):
    body = request_["body"]
    image = body["image"] if body["image"].startswith("iVBOR") else encoded(picture(32, 24))
    changes = {"image": image}
    if states := body.get("states"):  # those of the gateway in the place of those of the recording
        shapes = [{"type": "rectangle", "points": [1, 2, 3, 4]}] * len(states)
        changes["states"] = send(gateway, request_, image=image, shapes=shapes, states=[]).json()["states"]
    response = send(gateway, request_, **changes)
    if len(body.get("obj_bbox") or []) > 2 or body.get("text_prompts"):
        assert response.status_code == 400  # our functions take one box and no text
        return
    assert response.status_code == 200, response.reason
    answer = response.json()
    match KINDS[request_["headers"]["x-nuclio-function-name"]]:
        case "detector":
            assert [stored(item) for item in answer]
        case "interactor":
            has_prompt = bool(body["pos_points"] or body["obj_bbox"])
            assert [shape["type"] for shape in answer["shapes"]] == ["mask"] * has_prompt
        case "tracker" if states:
            assert [set(shape) for shape in answer["shapes"]] == [{"type", "points"}] * len(states)
            assert len(answer["states"]) == len(states)
        case "tracker":
            assert len(answer["states"]) == len(body["shapes"])


@pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there (set PREFECT_CVAT_WIRE_FUNCTIONS)")
@pytest.mark.parametrize("number", ["001", "002"])
def test_recorded_list(gateway, number):
    content = json.loads(next(FOLDER.glob(f"{number}*.json")).read_text())
    for exchange in content["gateway"]:
        response = send(gateway, exchange["request"])
        assert response.status_code == 200
        if exchange["request"]["method"] == "GET":
            assert set(response.json()) == set(KINDS)
            kinds = {
                name: record["metadata"]["annotations"]["type"] for name, record in response.json().items()
            }
            assert kinds == KINDS
