"""The gateway behind a server that calls it as CVAT does: the sandbox. What annotators send and get."""

import pytest
from skimage.data import astronaut

from cvat_calls import image_file
from gateway_functions import BODY, CAR, COLOUR, HEAD, LABELS, SKY, TAIL, Detection, Interaction, Tracking
from prefect_cvat.auto_annotation import keypoint, mask, rectangle, skeleton
from prefect_cvat.gateway import Gateway, GatewayConfiguration
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import AttributeValRequest

BITMAP = astronaut()[:, :, 0] > 250


class Server:
    """A sandbox with a task, and a gateway."""

    def __init__(self, sandbox, client, gateway):
        self.client = client
        self.gateway = gateway
        self.task = client.create_task("a task", LABELS).id
        client.upload_images(self.task, {f"{n}.png": image_file(astronaut()) for n in range(3)})
        self.labels = {label.id: label.name for label in client.labels(self.task)}

    def call(self, name, frame=0, **body):
        path = f"/api/lambda/functions/{name}"
        return self.client.json("POST", path, body={"task": self.task, "frame": frame, **body})


@pytest.fixture(scope="module")
def server():
    from prefect_cvat import Client
    from prefect_cvat.sandbox import Nuclio, Sandbox

    attribute = AttributeValRequest(spec_id=COLOUR, value="blue")
    found = [
        rectangle(CAR, [1, 2, 30, 40], score=0.75, rotation=30, attributes=[attribute]),
        mask(SKY, encode_mask(BITMAP)),
        skeleton(BODY, [keypoint(HEAD, [3, 4]), keypoint(TAIL, [5, 6], outside=True)]),
    ]
    functions = {"det": Detection(found), "sam": Interaction(), "trk": Tracking(lives=1)}
    with Gateway(GatewayConfiguration(port=0), functions=functions) as gateway:
        settings = Nuclio(port=gateway.port, function_namespace=gateway.secret)
        with Sandbox(nuclio=settings) as sandbox, Client(sandbox.url) as client:
            client.login((sandbox.user, sandbox.password))
            yield Server(sandbox, client, gateway)


def test_functions_are_listed(server):
    found = {each["id"]: each["kind"] for each in server.client.json("GET", "/api/lambda/functions")}
    assert found == {"det": "detector", "sam": "interactor", "trk": "tracker"}


def test_detector(server):
    shapes = {server.labels[shape["label_id"]]: shape for shape in server.call("det")["shapes"]}
    assert set(shapes) == {"car", "sky", "body"}
    assert shapes["car"]["points"] == [1, 2, 30, 40]
    assert shapes["car"]["rotation"] == 30
    assert [value["value"] for value in shapes["car"]["attributes"]] == ["blue"]
    assert shapes["sky"]["points"] == encode_mask(BITMAP)
    assert [element["outside"] for element in shapes["body"]["elements"]] == [False, True]


def test_detector_for_who_wants_polygons(server):
    shapes = server.call("det", conv_mask_to_poly=True)["shapes"]
    (sky,) = [shape for shape in shapes if server.labels[shape["label_id"]] == "sky"]
    assert sky["type"] == "polygon"


def test_interactor(server):
    answer = server.call("sam", pos_points=[[100, 100]], neg_points=[[5, 5]], obj_bbox=[])
    assert answer["shapes"][0]["attributes"] == [{"spec_id": 0, "value": "0.87"}]


def test_tracker(server):
    begun = server.call("trk", type="init_tracking", shapes=[{"type": "rectangle", "points": [1, 2, 9, 9]}])
    once = server.call("trk", 1, type="track", states=begun["states"])
    lost = server.call("trk", 2, type="track", states=once["states"])
    assert once["shapes"] == lost["shapes"] == [{"type": "rectangle", "points": [3, 3, 11, 10]}]
