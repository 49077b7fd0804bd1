"""Models of torch, exported to ONNX, find what they find in torch."""

import warnings

import cv2
import numpy as np
import pytest
import torch
import torchvision
import transformers
from torch import nn

from onnx_exports import ANY_BATCH, SIZE, YOLO_CLASSES, YOLO_METADATA, AsTyped, EndToEndYolo, export
from prefect_cvat.auto_annotation.functions import (
    nanodet_detection,
    onnx_detection,
    torchvision_detection,
    transformers_detection,
)
from prefect_cvat.auto_annotation.functions.nanodet_coco import load_categories

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def assert_same(found, expected, threshold, *, pixels=1.0, score=0.01, at_least=1):
    """Each detection has one of the same label, place and score among the others, unless it is at the threshold."""
    assert len(expected) >= at_least
    for some, others in ((found, expected), (expected, found)):
        remaining = list(others)
        for each in some:
            like = [
                other
                for other in remaining
                if other.label_id == each.label_id
                and abs(other.score - each.score) < score
                and np.abs(np.subtract(other.points, each.points)).max() < pixels
            ]
            assert like or each.score < threshold + score, f"nothing is like {each}"
            if like:
                remaining.remove(like[0])


def yolo_in_torch(model, image, threshold, *, size=SIZE, auto=False, iou=0.7):
    """What a YOLO of torch finds, with the letterboxing of Ultralytics by OpenCV, and torchvision's NMS."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    gain = min(size[0] / height, size[1] / width)
    inner = round(width * gain), round(height * gain)
    x, y = size[1] - inner[0], size[0] - inner[1]
    if auto:
        x, y = x % model.stride, y % model.stride
    resized = cv2.resize(pixels, inner, interpolation=cv2.INTER_LINEAR)
    top, bottom = round(y / 2 - 0.1), round(y / 2 + 0.1)
    left, right = round(x / 2 - 0.1), round(x / 2 + 0.1)
    padded = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114,) * 3)
    with torch.inference_mode():
        [rows] = model(torch.from_numpy(padded).permute(2, 0, 1)[None] / 255)
    scores, classes = rows[4:].max(0)
    boxes = torchvision.ops.box_convert(rows[:4].T, "cxcywh", "xyxy")
    likely = scores >= threshold
    kept = torchvision.ops.batched_nms(boxes[likely], scores[likely], classes[likely], iou)
    boxes = ((boxes[likely][kept] - torch.tensor([left, top, left, top])) / gain).clamp(min=0)
    boxes = torch.minimum(boxes, torch.tensor([width, height] * 2)).tolist()
    return [
        Found(label, box, score)
        for label, box, score in zip(
            classes[likely][kept].tolist(), boxes, scores[likely][kept].tolist(), strict=True
        )
    ]


class Found:
    def __init__(self, label_id, points, score):
        self.label_id, self.points, self.score = label_id, points, score


def test_nanodet(nanodet_file, pictures, context):
    function = onnx_detection.create(nanodet_file, labels=dict(enumerate(load_categories())))
    original = nanodet_detection.create(device="cpu")
    assert [label.name for label in function.spec.labels] == load_categories()
    for picture in pictures:
        found = function.detect(context(0.2), picture)
        assert_same(found, original.detect(context(0.2), picture), 0.2)


@pytest.mark.parametrize(
    ("name", "output_names"),
    [
        ("ssdlite320_mobilenet_v3_large", ("boxes", "scores", "labels")),  # the order of its export
        ("ssdlite320_mobilenet_v3_large", None),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", ("boxes", "labels", "scores")),
    ],
    ids=["ssdlite", "ssdlite-unnamed", "fasterrcnn"],
)
def test_torchvision_detector_takes_images_of_any_size(name, output_names, folder, pictures, context):
    torch.manual_seed(0)
    settings = {"score_thresh": 0.0} if name.startswith("ssd") else {"box_score_thresh": 0.0}
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None, num_classes=4, **settings)
    file = export(
        model.eval(),
        folder / f"{name}.onnx",
        ([torch.rand(3, 320, 400)],),
        output_names,
        dynamic={"image": {1: "height", 2: "width"}},
    )
    names = ["__background__", "person", "N/A", "car"]
    function = onnx_detection.create(file, labels=names)
    assert [(label.id, label.name) for label in function.spec.labels] == [(1, "person"), (3, "car")]
    original = torchvision_detection.create(model=model, label_map={1: "person", 3: "car"}, device="cpu")
    for picture in pictures[:2]:
        expected = original.detect(context(0.0), picture)
        threshold = sorted(each.score for each in expected)[-10]
        assert_same(function.detect(context(threshold), picture), expected[:20], threshold)


def test_yolo_of_fixed_size(yolo_file, raw_yolo, pictures, context):
    function = onnx_detection.create(yolo_file)
    assert [label.name for label in function.spec.labels] == [*YOLO_CLASSES]
    assert function.score_threshold == 0.25
    for picture in pictures:
        found = function.detect(context(0.6), picture)
        assert_same(found, yolo_in_torch(raw_yolo, picture, 0.6), 0.6, at_least=3)


def test_yolo_of_any_size_in_batches(dynamic_yolo_file, raw_yolo, pictures, context):
    function = onnx_detection.create(dynamic_yolo_file, batch_size=4, iou=0.5)
    contexts = [context(0.6), context(0.7), *[context(0.6)] * (len(pictures) - 2)]
    together = function.detect_batch(contexts, pictures)
    for each, picture, found in zip(contexts, pictures, together, strict=True):
        expected = yolo_in_torch(raw_yolo, picture, each.conf_threshold, auto=True, iou=0.5)
        assert_same(found, expected, each.conf_threshold)
        assert_same(function.detect(each, picture), found, each.conf_threshold, pixels=0.01, score=1e-4)


def test_image_size_of_a_yolo_of_any_size(dynamic_yolo_file, raw_yolo, pictures, context):
    function = onnx_detection.create(dynamic_yolo_file, image_size=300)
    found = function.detect(context(0.6), pictures[0])
    assert_same(found, yolo_in_torch(raw_yolo, pictures[0], 0.6, size=(320, 320), auto=True), 0.6)


def test_yolo_that_selects_the_boxes_itself(folder, raw_yolo, yolo_file, pictures, context):
    file = export(
        EndToEndYolo(raw_yolo),
        folder / "end2end.onnx",
        (torch.zeros(1, 3, *SIZE),),
        ["output0"],
        metadata=YOLO_METADATA,
    )
    function = onnx_detection.create(file)
    for picture in pictures[:2]:
        found = function.detect(context(0.0), picture)
        assert len(found) == 20  # not those with score 0
        expected = yolo_in_torch(raw_yolo, picture, 0.0, iou=1.0)[:20]
        assert_same(found, expected, expected[-1].score)


@pytest.mark.parametrize("dtype", [torch.float16, torch.uint8], ids=str)
def test_other_layouts_and_types(dtype, folder, raw_yolo, pictures, context):
    scale = 255 if dtype is torch.uint8 else 1
    model = AsTyped(raw_yolo, lambda images: images.permute(0, 3, 1, 2).float() / scale)
    file = export(
        model,
        folder / f"{dtype}.onnx",
        (torch.zeros(2, *SIZE, 3, dtype=dtype),),
        None,
        metadata=YOLO_METADATA,
    )
    function = onnx_detection.create(file)
    assert function.batch_size == 2  # the model takes no other number
    found = function.detect_batch([context(0.6)] * 3, pictures[:3])
    for each, picture in zip(found, pictures, strict=False):
        assert_same(each, yolo_in_torch(raw_yolo, picture, 0.6), 0.6)


def build_detr(labels):
    layers = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 10}
    layers |= {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
    layers |= {f"{part}_ffn_dim": 16 for part in ("encoder", "decoder")}
    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 12, 16, 24],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage4"],
    )
    torch.manual_seed(4)
    config = transformers.DetrConfig(backbone=None, backbone_config=backbone, id2label=labels, **layers)
    config._attn_implementation = "eager"
    model = transformers.DetrForObjectDetection(config).eval()
    with torch.no_grad():
        model.class_labels_classifier.weight.mul_(20)
    return model


class Detr(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values, pixel_mask=None):
        found = self.model(pixel_values=pixel_values, pixel_mask=pixel_mask)
        return found.logits, found.pred_boxes


@pytest.mark.parametrize("with_mask", [False, True])
def test_detr(with_mask, folder, pictures, context):
    names = {0: "N/A", 1: "person", 2: "car"}
    model = build_detr(names)
    inputs = {"pixel_values": torch.zeros(1, 3, 96, 128)}
    if with_mask:
        inputs["pixel_mask"] = torch.ones(1, 96, 128, dtype=torch.int64)
    file = export(
        Detr(model),
        folder / "detr.onnx",
        tuple(inputs.values()),
        ["logits", "pred_boxes"],
        input_names=list(inputs),
        dynamic=dict.fromkeys((*inputs, "logits", "pred_boxes"), ANY_BATCH),
    )
    function = onnx_detection.create(file, labels="N/A,person,car", batch_size=4)
    processor = transformers.DetrImageProcessor(size={"height": 96, "width": 128})
    original = transformers_detection.create(model, processor=processor, device="cpu")
    found = function.detect_batch([context(0.2)] * len(pictures), pictures)
    for each, picture in zip(found, pictures, strict=True):
        expected = original.detect(context(0.2), picture)
        width, height = picture.size
        inside = [Found(e.label_id, np.clip(e.points, 0, [width, height] * 2), e.score) for e in expected]
        assert_same(each, inside, 0.2)


@pytest.mark.parametrize("config", ["yolo11n.yaml", "yolo26n.yaml"])
@pytest.mark.parametrize("options", [{}, {"nms": True}, {"dynamic": True}], ids=["raw", "nms", "dynamic"])
def test_exports_of_ultralytics(config, options, folder, pictures, context, monkeypatch):
    pytest.importorskip("ultralytics")
    from prefect_cvat.auto_annotation.functions._ultralytics import import_ultralytics, quiet

    monkeypatch.setenv("YOLO_CONFIG_DIR", str(folder))
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yolo = import_ultralytics().YOLO(config)
        for head in (
            layers for name, layers in vars(yolo.model.model[-1])["_modules"].items() if "cv3" in name
        ):
            for layers in head:
                layers[-1].bias.data.zero_()  # probabilities around a half
                layers[-1].weight.data.mul_(30)
        file = yolo.export(
            format="onnx", imgsz=SIZE, simplify=False, verbose=False, iou=0.7, conf=0.01, **options
        )
    function = onnx_detection.create(file)
    assert len(function.spec.labels) == 80
    for picture in pictures[:2]:
        with quiet():
            [result] = yolo.predict(
                np.asarray(picture)[..., ::-1], imgsz=SIZE, rect="dynamic" in options, conf=0.3, verbose=False
            )
        boxes = result.boxes
        rows = zip(boxes.cls.tolist(), boxes.xyxy.tolist(), boxes.conf.tolist(), strict=True)
        threshold = boxes.conf.sort(descending=True).values[min(len(boxes), 20) - 1].item()
        expected = [Found(*row) for row in rows if row[2] >= threshold]
        assert_same(function.detect(context(threshold), picture), expected, threshold)
