"""Every code block of the guide runs, with `prefect_cvat` in the place of `cvat_sdk`."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import PIL.Image
import pytest
import torch
import torchvision.models
from torch import nn

from compatibility.guide_blocks import BLOCKS, code_blocks
from pictures import picture
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import (
    DetectionFunctionContext,
    DetectionFunctionSpec,
    attribute_spec,
    keypoint_spec,
    label_spec,
    rectangle,
    skeleton_label_spec,
)
from prefect_cvat.sandbox import Sandbox

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def blocks(guide: Path) -> dict[str, str]:
    return code_blocks(guide.read_text(encoding="utf-8"))


@pytest.fixture
def run(blocks: dict[str, str], sandbox: Sandbox, our_client: Client) -> Iterator[Run]:
    """Run a block on a task, with names that it expects; returns the names that it leaves."""
    opened: list[Client] = []

    def run(block: str, task_id: int | None = None, **names: Any) -> dict[str, Any]:
        code = blocks[block].replace("cvat_sdk", "prefect_cvat")
        code = code.replace("cvat.example.com", sandbox.url)
        code = code.replace('("username", "password")', repr((sandbox.user, sandbox.password)))
        assert (task_id is not None) == ("task_id=123" in code)
        code = code.replace("task_id=123", f"task_id={task_id}")
        namespace = {"__name__": "__main__", "client": our_client, "annotate_task": annotate_task, **names}
        exec(compile(code, f"guide: {block}", "exec"), namespace)
        if isinstance(made := namespace["client"], Client) and made is not our_client:
            opened.append(made)
        return namespace

    yield run
    for client in opened:
        client.close()


@pytest.fixture
def annotated(new_task, read) -> Callable[..., Any]:
    """Create a task with these labels, call a function on it, and return its annotations."""

    def annotated(
        labels: list[Any], act: Callable[[int], Any], images: dict[str, bytes] | None = None
    ) -> list[dict[str, Any]]:
        task_id = new_task(labels, images)
        act(task_id)
        return read(task_id)

    return annotated


def a_task_function(*names: str, seen: list[DetectionFunctionContext] | None = None) -> SimpleNamespace:
    def detect(context: DetectionFunctionContext, image: PIL.Image.Image) -> list[Any]:
        if seen is not None:
            seen.append(context)
        return [rectangle(number, [1, 2, 30, 40]) for number, _ in enumerate(names)]

    spec = DetectionFunctionSpec(labels=[label_spec(name, i) for i, name in enumerate(names)])
    return SimpleNamespace(spec=spec, detect=detect)


def labels(*names: str) -> list[Any]:
    return [label_spec(name, None) for name in names]


def of_each_frame(found: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The labels on each of the three frames."""
    return [tuple(sorted(item["label"] for item in found if item["frame"] == frame)) for frame in range(3)]


def test_blocks_contain_all_code_of_the_guide(blocks, guide):
    assert list(blocks) == [block.name for block in BLOCKS]
    outside = guide.read_text(encoding="utf-8")
    for code in blocks.values():
        assert outside.count(code) == 1
        outside = outside.replace(code, "")
    assert re.findall(r".*cvat_sdk.*|.*\(.*=.*\).*", outside) == []


def test_code_outside_the_blocks_is_an_error(guide):
    text = guide.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="in no block: 'annotate_task"):
        code_blocks(text + "\nannotate_task(client, 1, function)\n")
    with pytest.raises(ValueError, match="block 'progress' is not found"):
        code_blocks(text.replace("from tqdm import tqdm", "import tqdm"))


def test_annotate_task(run, annotated):
    seen: list[DetectionFunctionContext] = []
    function = a_task_function("car", seen=seen)
    found = annotated(labels("car"), lambda task: run("annotate_task", task, my_detection_function=function))
    assert of_each_frame(found) == [("car",)] * 3
    assert {(context.conf_threshold, context.conv_mask_to_poly) for context in seen} == {(0.5, False)}


def test_function_interface(run, annotated):
    class Model:
        def predict(self, image: PIL.Image.Image) -> list[Any]:
            assert image.size == (64, 48)
            box = {"x1": 3, "y1": 4, "x2": 13.5, "y2": 14}
            return [
                SimpleNamespace(class_id=class_id, confidence=confidence, **box)
                for class_id, confidence in ((0, 0.9), (1, 0.5), (1, 0.4))
            ]

    found = annotated(labels("car", "person"), lambda task: run("interface", task, my_model=Model()))
    assert of_each_frame(found) == [("car", "person")] * 3
    assert {tuple(item["points"]) for item in found} == {(3, 4, 13.5, 14)}


def gender(number: int | None) -> Any:
    return attribute_spec("gender", number, "select", ["male", "female"])


def task_of_the_spec(types: str = "rectangle") -> list[Any]:
    return [
        label_spec("car", None, type=types),
        label_spec("person", None, type=types, attributes=[gender(None)]),
        skeleton_label_spec(
            "person_skeleton",
            None,
            [keypoint_spec(name, None) for name in ("head", "left_hand", "right_hand")],
        ),
    ]


def test_detection_function_spec(run, annotated, our_client):
    spec = run("spec")["spec"]
    assert [(label.name, label.id, label.type) for label in spec.labels] == [
        ("car", 0, "rectangle"),
        ("person", 1, "rectangle"),
        ("person_skeleton", 2, "skeleton"),
    ]
    assert spec.labels[0].color == "#ff0000"
    assert spec.labels[1].attributes == [gender(0)]
    function = SimpleNamespace(spec=spec, detect=lambda context, image: [rectangle(1, [1, 2, 3, 4])])
    found = annotated(task_of_the_spec(), lambda task: annotate_task(our_client, task, function))
    assert of_each_frame(found) == [("person",)] * 3


def test_creating_annotations(run, annotated, our_client):
    spec = run("spec")["spec"]
    # the guide's own example puts a tag and a polygon on labels that it declares as rectangles
    for label in spec.labels[:2]:
        label.type = "any"
    detect = run("annotations")["detect"]
    function = type("Function", (), {"spec": spec, "detect": detect})()
    found = annotated(
        task_of_the_spec("any"),
        lambda task: annotate_task(our_client, task, function),
        {"large.png": picture(256, 256)},
    )
    assert sorted((item["kind"], item.get("type"), item["label"], item.get("points")) for item in found) == [
        ("shape", "polygon", "person", [10, 10, 20, 10, 20, 20, 10, 20]),
        ("shape", "rectangle", "person", [50, 50, 150, 150]),
        ("shape", "rectangle", "person", [100, 100, 200, 200]),
        ("shape", "skeleton", "person_skeleton", []),
        ("tag", None, "car", None),
    ]
    [skeleton] = [item for item in found if item["elements"]]
    assert [(part["label"], part["points"]) for part in skeleton["elements"]] == [
        *(("head", [100, 50]), ("left_hand", [90, 100])),
        ("right_hand", [110, 100]),
    ]
    [male] = [item for item in found if item.get("points") == [50, 50, 150, 150]]
    assert male["attributes"] == [("gender", "male")]


@pytest.mark.parametrize("conv_mask_to_poly", [False, True])
def test_detection_function_context(run, annotated, our_client, capsys, conv_mask_to_poly):
    names = run(
        "context",
        DetectionFunctionContext=DetectionFunctionContext,
        PIL=PIL,
        annotations=[rectangle(0, [1, 2, 3, 4])],
    )
    function = type("Function", (), {"spec": a_task_function("car").spec, "detect": names["detect"]})()
    found = annotated(
        labels("car"),
        lambda task: annotate_task(our_client, task, function, conv_mask_to_poly=conv_mask_to_poly),
    )
    assert of_each_frame(found) == [("car",)] * 3
    assert capsys.readouterr().out.splitlines() == [f"Processing: 000{i}.png" for i in range(3)]


# --- built-in functions: seeded models in the place of pretrained ones ---

RCNN = {
    **{"weights": None, "weights_backbone": None, "min_size": 64, "max_size": 64},
    **{"rpn_post_nms_top_n_test": 20, "box_detections_per_img": 3},
}


def confident(model: nn.Module, number: int) -> nn.Module:
    """Let a model find class `number`, and be sure of it."""
    with torch.no_grad():
        predictor = model.roi_heads.box_predictor.cls_score
        predictor.weight.mul_(0.05)
        predictor.bias[number] = 12.0
    return model


@pytest.fixture
def local_models(monkeypatch) -> None:
    original = {
        name: getattr(torchvision.models.detection, f"{name}_resnet50_fpn")
        for name in ("fasterrcnn", "maskrcnn", "keypointrcnn")
    }

    def detector(name: str, number: int) -> Callable[..., nn.Module]:
        def make(*, pretrained: bool) -> nn.Module:
            assert pretrained
            torch.manual_seed(0)
            model = confident(original[name](**RCNN), number)
            if name == "maskrcnn":
                nn.init.constant_(model.roi_heads.mask_predictor.mask_fcn_logits.bias, 3.0)
            return model

        return make

    def classifier(*, pretrained: bool) -> nn.Module:
        assert pretrained
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None)
        with torch.no_grad():
            model.fc.bias[1] = 100.0
        return model

    for name, number in (("fasterrcnn", 3), ("maskrcnn", 1), ("keypointrcnn", 1)):
        monkeypatch.setattr(torchvision.models.detection, f"{name}_resnet50_fpn", detector(name, number))
    monkeypatch.setattr(torchvision.models, "resnet50", classifier)


@pytest.mark.usefixtures("local_models")
def test_object_detection(run, annotated):
    found = annotated(labels("person", "bicycle", "car"), lambda task: run("detection", task))
    assert {frame: set(names) for frame, names in enumerate(of_each_frame(found))} == {
        frame: {"car"} for frame in range(3)
    }
    assert {item["type"] for item in found} == {"rectangle"}
    assert all(item["score"] >= 0.7 for item in found)


@pytest.mark.usefixtures("local_models")
def test_instance_segmentation(run, annotated):
    found = annotated(
        labels("person", "car"), lambda task: run("segmentation", task, models=torchvision.models)
    )
    assert {item["frame"] for item in found} == {0, 1, 2}
    assert {(item["label"], item["type"]) for item in found} == {("person", "polygon")}


@pytest.mark.usefixtures("local_models")
def test_classification(run, annotated):
    found = annotated(
        labels("cat", "dog", "bird"), lambda task: run("classification", task, models=torchvision.models)
    )
    assert [(item["kind"], item["frame"], item["label"]) for item in found] == [
        ("tag", frame, "dog") for frame in range(3)
    ]


@pytest.mark.usefixtures("local_models")
def test_keypoint_detection(run, annotated):
    names = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
    person = skeleton_label_spec("person", None, [keypoint_spec(name, None) for name in names])
    found = annotated([person], lambda task: run("keypoints", task, models=torchvision.models))
    assert {item["frame"] for item in found} == {0, 1, 2}
    assert {item["type"] for item in found} == {"skeleton"}
    assert all([e["label"] for e in item["elements"]] == sorted(names) for item in found)


# --- the rest ---


class Table:
    """The parts of a table of predictions that the guide's example uses."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, str):
            return torch.tensor([row[item] for row in self._rows])
        return Table([row for row, is_kept in zip(self._rows, item, strict=True) if is_kept])

    def iterrows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        return iter(enumerate(self._rows))


class YoloLike(nn.Module):
    """Takes an image and answers as YOLOv5 does."""

    def forward(self, image: PIL.Image.Image) -> Any:
        assert not self.training
        box = {"xmin": 1.0, "ymin": 2.0, "xmax": 20.5, "ymax": 30.0}
        rows = [{**box, "confidence": 0.3 + 0.3 * number, "class": number} for number in range(3)]
        return SimpleNamespace(pandas=lambda: SimpleNamespace(xyxy=[Table(rows)]))


def test_custom_model(run, annotated, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(torch.hub, "load", lambda *args, **kwargs: asked.append((args, kwargs)) or YoloLike())
    found = annotated(labels("person", "car", "truck"), lambda task: run("custom model", task))
    assert asked == [(("ultralytics/yolov5", "custom"), {"path": "yolov5s.pt"})]
    assert of_each_frame(found) == [("car", "truck")] * 3
    assert {tuple(item["points"]) for item in found} == {(1, 2, 20.5, 30)}
    assert capsys.readouterr().out == "Auto-annotation complete!\n"


def test_label_mapping(run, annotated):
    function = a_task_function("car", "boat")
    found = annotated(labels("car"), lambda task: run("label mapping", task, my_function=function))
    assert of_each_frame(found) == [("car",)] * 3


def test_progress(run, annotated, capsys):
    bars = []

    def act(task: int) -> None:
        bars.append(run("progress", task, my_function=a_task_function("car"))["pbar"])

    assert of_each_frame(annotated(labels("car"), act)) == [("car",)] * 3
    assert (bars[0].n, bars[0].total, bars[0].unit) == (3, 3, "frames")
    assert "Auto-annotating: 100%" in capsys.readouterr().err


def test_error_handling(run, annotated, capsys):
    def act(function: Any) -> Callable[[int], Any]:
        return lambda task: run("errors", task, my_function=function)

    assert of_each_frame(annotated(labels("car"), act(a_task_function("car")))) == [("car",)] * 3
    assert capsys.readouterr().out == ""
    assert annotated(labels("car"), act(a_task_function("boat"))) == []
    assert re.match("Function validation error: .*label 'boat' is not in dataset", capsys.readouterr().out)
    bad = a_task_function("car")
    bad.detect = lambda context, image: [rectangle(9, [1, 2, 3, 4])]
    assert annotated(labels("car"), act(bad)) == []
    assert "unknown label ID (9)" in capsys.readouterr().out
