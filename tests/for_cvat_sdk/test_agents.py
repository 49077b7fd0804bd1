"""Agents of `cvat-cli` with our functions: the real command, on a server with CVAT Online's queues."""

import pytest
import skimage.data
from PIL import Image

from for_cvat_sdk.agent_server import agent_server
from pictures import png
from prefect_cvat.auto_annotation import label_spec

OURS = ("--function-module", "prefect_cvat.for_cvat_sdk")
THRESHOLD = {"threshold": 0.4, "conv_mask_to_poly": False}


@pytest.fixture
def server(sandbox):
    with agent_server(sandbox.url) as server:
        yield server


@pytest.fixture
def cat(client):
    task = client.create_task("a cat", [label_spec("Cat", None)])
    client.upload_images(task.id, {"0.png": png(skimage.data.chelsea())})
    return task.id


def run_agent(cvat_cli, server, *function):
    created = cvat_cli("function", "create-native", "ours", *OURS, *function, url=server.url)
    assert created.returncode == 0, created.stderr
    ran = cvat_cli(
        "function", "run-agent", created.stdout.strip(), *OURS, *function, "--burst", url=server.url
    )
    assert ran.returncode == 0, ran.stderr
    return server.answers


def test_detector(cvat_cli, server, client, cat):
    mapping = {"cat": {"name": "Cat"}}
    frame = {"type": "annotate_frame", "task": cat, "frame": 0, "mapping": mapping, **THRESHOLD}
    whole = {"type": "annotate_task", "task": cat, "mapping": mapping, **THRESHOLD}
    server.waiting = [frame, whole]
    answers = run_agent(cvat_cli, server, "-p", "name=str:nanodet_detection")
    assert server.function["kind"] == "detector"
    assert {"name": "cat", "attributes": [], "type": "rectangle"} in server.function["labels_v2"]
    [label] = client.labels(cat)
    for answer in answers:
        [shape] = answer["annotations"]["shapes"]
        assert (shape["label_id"], shape["type"], shape["frame"]) == (label.id, "rectangle", 0)
        assert shape["score"] > 0.4
    assert len(answers) == 2


def test_tracker(cvat_cli, server, client):
    pytest.importorskip("cv2")
    photo = Image.fromarray(skimage.data.astronaut())
    frames = {f"{shift}.png": png(photo.crop((shift, 0, 400 + shift, 400))) for shift in (0, 5)}
    task = client.create_task("moving", [label_spec("face", None)])
    client.upload_images(task.id, frames)
    face = {"type": "rectangle", "points": [170, 40, 290, 220]}
    server.waiting = [
        {"type": "init_tracking", "task": task.id, "frame": 0, "shapes": [face]},
        {"type": "track", "task": task.id, "frame": 1, "states": "those of the last answer"},
    ]
    _, tracked = run_agent(cvat_cli, server, "-p", "name=str:optical_flow_tracking")
    assert server.function["kind"] == "tracker"
    assert "rectangle" in server.function["supported_shape_types"]
    [shape] = tracked["shapes"]
    assert shape["points"] == pytest.approx([165, 40, 285, 220], abs=2)


def test_interactor(cvat_cli, server, cat):
    pytest.importorskip("cv2")
    prompts = {"pos_points": [], "neg_points": [], "obj_bbox": [[90, 20], [400, 290]]}
    server.waiting = [{"type": "interact", "task": cat, "frame": 0, **prompts}]
    [answer] = run_agent(cvat_cli, server, "-p", "name=str:grabcut_interaction")
    assert server.function["kind"] == "interactor"
    assert server.function["startswith_box_optional"]
    [shape] = answer["shapes"]
    assert shape["type"] == "mask"
    left, top, right, bottom = shape["points"][-4:]
    assert 90 <= left < right <= 400
    assert 20 <= top < bottom <= 290
    assert sum(shape["points"][:-4]) == (right - left + 1) * (bottom - top + 1)


def test_error_of_a_function_reaches_the_user(cvat_cli, server, cat, tmp_path):
    file = tmp_path / "bad.py"
    file.write_text(
        "from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle\n"
        "spec = DetectionFunctionSpec(labels=[label_spec('cat', 0)])\n"
        "def detect(context, image):\n"
        "    return [rectangle(5, [0, 0, 1, 1])]\n"
    )
    frame = {
        "type": "annotate_frame",
        "task": cat,
        "frame": 0,
        "mapping": {"cat": {"name": "Cat"}},
        **THRESHOLD,
    }
    server.waiting = [frame]
    run_agent(cvat_cli, server, "-p", f"file=str:{file}")
    [failure] = server.failures
    assert failure == (
        "Underlying function returned incorrect result: 0.png: function output shape with unknown label ID (5)"
    )
