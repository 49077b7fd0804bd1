"""Models of torch, exported to ONNX, find what they find in torch."""

import subprocess
import sys
import warnings

import cv2
import numpy as np
import PIL.Image
import pytest
import torch
import torchvision
import transformers
from torch import nn

from onnx_exports import YOLO_CLASSES, AsTyped, EndToEndYolo, OneImage, RawYolo, export
from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.functions import (
    nanodet_detection,
    onnx_detection,
    torchvision_detection,
    transformers_detection,
)
from prefect_cvat.auto_annotation.functions.nanodet_coco import INPUT_SIZE, load_categories, load_model
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.inference.output_checks import OutputChecker

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

YOLO_METADATA = {
    "task": "detect",
    "stride": 32,
    "names": dict(enumerate(YOLO_CLASSES)),
    "imgsz": [192, 256],
}
SIZE = (192, 256)
ANY_BATCH = {0: "batch"}
ANY_SIZE = {2: "height", 3: "width"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("onnx")


@pytest.fixture(scope="module")
def pictures(test_data):
    """Photographs of several sizes and shapes."""
    paths = sorted((test_data / "coco-photos" / "images").glob("*.jpg"))[:5]
    return [PIL.Image.open(path).convert("RGB") for path in paths]


@pytest.fixture(scope="module")
def raw_yolo():
    return RawYolo()


@pytest.fixture(scope="module")
def yolo_file(folder, raw_yolo):
    """A YOLO for one image of 256 x 192 pixels."""
    images = torch.zeros(1, 3, *SIZE)
    return export(raw_yolo, folder / "yolo.onnx", (images,), ["output0"], metadata=YOLO_METADATA)


@pytest.fixture(scope="module")
def dynamic_yolo_file(folder, raw_yolo):
    """A YOLO for any number of images of any size."""
    return export(
        raw_yolo,
        folder / "dynamic.onnx",
        (torch.zeros(2, 3, *SIZE),),
        ["output0"],
        dynamic={"image": ANY_BATCH | ANY_SIZE, "output0": {0: "batch", 1: "rows", 2: "anchors"}},
        metadata=YOLO_METADATA,
    )


@pytest.fixture(scope="module")
def nanodet_file(folder):
    model = OneImage(load_model(score_thresh=0.05))
    image = torch.rand(3, INPUT_SIZE, INPUT_SIZE)
    return export(model, folder / "nanodet.onnx", (image,), ["boxes", "labels", "scores"])


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


def test_torch_is_not_imported(yolo_file):
    program = f"""
import sys
import PIL.Image
from prefect_cvat.auto_annotation.loading import load_function

function = load_function("onnx_detection", {{"model": {str(yolo_file)!r}, "score_threshold": 0.1}})
class Context:
    conf_threshold = None
assert function.detect(Context, PIL.Image.new("RGB", (90, 70), "red"))
assert function.version
assert "onnxruntime" in sys.modules
assert not {{"torch", "torchvision"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_output_can_be_uploaded(yolo_file, pictures, context):
    function = onnx_detection.create(yolo_file)
    checker = OutputChecker(function.spec.labels, conv_mask_to_poly=False)
    for image in (pictures[0], pictures[0].convert("L"), PIL.Image.new("RGB", (900, 1))):
        shapes = checker.check(0, function.detect(context(0.0), image)).shapes
        assert shapes
        assert all(0 <= shape.score <= 1 for shape in shapes)


def test_function_is_made_by_name_with_parameters(yolo_file, context):
    parameters = {"model": str(yolo_file), "labels": "a,b,c", "device": "cpu", "providers": "cpu"}
    function = load_function("onnx_detection", parameters)
    assert [label.name for label in function.spec.labels] == ["a", "b", "c"]
    assert function.device == "cpu"
    function.close()
    with pytest.raises(RuntimeError, match="closed"):
        function.detect(context(), PIL.Image.new("RGB", (9, 9)))


def test_labels_from_a_text_file_and_from_a_mapping(yolo_file, tmp_path, context, pictures):
    file = tmp_path / "labels.txt"
    file.write_text("red cat\ndog\nbird\n")
    names = [label.name for label in onnx_detection.create(yolo_file, labels=str(file)).spec.labels]
    assert names == ["red cat", "dog", "bird"]

    all_found = onnx_detection.create(yolo_file).detect(context(0.6), pictures[0])
    some_found = onnx_detection.create(yolo_file, labels={"2": "bird"}).detect(context(0.6), pictures[0])
    assert len(all_found) > len(some_found) > 0
    assert some_found == [each for each in all_found if each.label_id == 2]


@pytest.mark.parametrize(
    ("classes", "first", "last"), [(80, (0, "person"), (79, "toothbrush")), (91, None, None)]
)
def test_names_of_coco_where_the_number_of_classes_is_certain(classes, first, last, folder):
    model = RawYolo(classes=classes)
    file = export(model, folder / f"coco{classes}.onnx", (torch.zeros(1, 3, 352, 352),), None)
    labels = onnx_detection.create(file).spec.labels
    assert len(labels) == 80
    ids = {label.name: label.id for label in labels}
    assert ids["person"] == (0 if classes == 80 else 1)
    assert ids["toothbrush"] == (79 if classes == 80 else 90)


def test_version_depends_on_what_decides_the_output(yolo_file, tmp_path):
    version = onnx_detection.create(yolo_file).version
    copied = tmp_path / "copy.onnx"
    copied.write_bytes(yolo_file.read_bytes())
    assert onnx_detection.create(copied, batch_size=3).version == version
    others = [{"iou": 0.5}, {"score_threshold": 0.3}, {"labels": "a,b,c"}]
    assert len({version, *(onnx_detection.create(copied, **other).version for other in others)}) == 4


@pytest.fixture
def external_file(yolo_file, tmp_path):
    """The model, with its weights in another file."""
    import onnx

    file = tmp_path / "external.onnx"
    onnx.save(
        onnx.load(yolo_file), file, save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    return file


def test_weights_in_another_file_belong_to_the_model(external_file, yolo_file, pictures, context):
    function = onnx_detection.create(external_file)
    found = function.detect(context(0.6), pictures[0])
    assert found == onnx_detection.create(yolo_file).detect(context(0.6), pictures[0])
    weights = external_file.with_name("weights.bin")
    content = bytearray(weights.read_bytes())
    content[3] ^= 1
    weights.write_bytes(content)
    assert onnx_detection.create(external_file).version != function.version


def test_missing_weights_are_named(external_file):
    external_file.with_name("weights.bin").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"external.onnx' keeps weights in 'weights.bin', which must be in"
    ):
        onnx_detection.create(external_file)


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04 a file of torch" * 20, b"version https://git-lfs.github.com/spec/v1\n", None],
    ids=["empty", "torch", "lfs", "cut"],
)
def test_file_that_is_not_onnx(content, tmp_path, yolo_file):
    file = tmp_path / "model.onnx"
    file.write_bytes(yolo_file.read_bytes()[:-50] if content is None else content)
    with pytest.raises(
        BadFunctionError, match=r"model.onnx' is not an ONNX file.* export the model to ONNX first"
    ):
        onnx_detection.create(file)


def test_missing_file():
    with pytest.raises(FileNotFoundError, match=r"there is no file 'nothing.onnx'"):
        onnx_detection.create("nothing.onnx")


@pytest.mark.parametrize("change", ["opset", "ir_version"])
def test_model_that_is_too_new(change, yolo_file, tmp_path):
    import onnx

    model = onnx.load(yolo_file)
    if change == "opset":
        model.opset_import[0].version = 99
    else:
        model.ir_version = 99
    file = tmp_path / "new.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(
        BadFunctionError,
        match=r"new.onnx' needs .*pip install -U onnxruntime.*lower opset version. It says: (ONNX Runtime only|Unsupported model IR version: 99)",
    ):
        onnx_detection.create(file)


class Outputs(nn.Module):
    """A model with outputs of some shapes."""

    def __init__(self, *shapes):
        super().__init__()
        self.shapes = shapes

    def forward(self, images):
        return tuple(images.mean() + torch.zeros(shape) for shape in self.shapes)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            [(1, 1000)],
            r"outputs of the model are not known: out0 \[1, 1000\] float. Known are torchvision \(boxes",
        ),
        ([(1, 25200, 85)], r"not known: out0 \[1, 25200, 85\] float"),  # of YOLOv5, with objectness
        ([(1, 36, 80), (1, 32, 8, 8)], r"not known: out0 \[1, 36, 80\] float; out1 \[1, 32, 8, 8\] float"),
        (
            [(1, 9, 80)],
            r"there are 3 labels, but the model has 5 classes \(out0 \[1, 9, 80\] float has 4 rows",
        ),
    ],
    ids=["classifier", "yolov5", "masks", "label-count"],
)
def test_unknown_outputs_are_described(shapes, message, tmp_path):
    names = [f"out{number}" for number in range(len(shapes))]
    file = export(Outputs(*shapes), tmp_path / "model.onnx", (torch.zeros(1, 3, 32, 32),), names)
    with pytest.raises(BadFunctionError, match=message):
        onnx_detection.create(file, labels=YOLO_CLASSES)


def test_number_of_labels_of_detr(tmp_path):
    names = ["logits", "pred_boxes"]
    file = export(Outputs((1, 9, 3), (1, 9, 4)), tmp_path / "detr.onnx", (torch.zeros(1, 3, 32, 32),), names)
    message = r"3 labels, but the model has 2 classes \(logits has 3 columns, the last of them for no object"
    with pytest.raises(BadFunctionError, match=message):
        onnx_detection.create(file, labels=YOLO_CLASSES)


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_other_tasks_of_ultralytics(task, raw_yolo, tmp_path):
    metadata = YOLO_METADATA | {"task": task}
    file = export(raw_yolo, tmp_path / "yolo.onnx", (torch.zeros(1, 3, 64, 64),), None, metadata=metadata)
    with pytest.raises(BadFunctionError, match=f"for the task '{task}'.* 'detect' are supported"):
        onnx_detection.create(file)


def test_input_that_is_not_an_image(tmp_path):
    file = export(Outputs((1, 7, 80)), tmp_path / "model.onnx", (torch.zeros(1, 1, 32, 32),), None)
    with pytest.raises(
        BadFunctionError, match=r"takes image \[1, 1, 32, 32\] float; it must take one RGB image"
    ):
        onnx_detection.create(file, labels=YOLO_CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"providers": "cuda"}, r"provider 'cuda' is not installed; .* has .*cpu.*onnxruntime-gpu"),
        ({"providers": ["cpu", "magic"]}, r"provider 'magic' is not installed"),
        ({"device": "cuda:1"}, r"provider 'cuda' \(for device 'cuda:1'\) is not installed"),
        ({"device": "tpu"}, r"no device 'tpu'; there are auto, cpu, cuda, mps"),
        ({"device": "cuda:x"}, r"no device 'cuda:x'"),
        ({"iou": 2}, "iou must be between 0 and 1, not 2"),
        ({"score_threshold": -1}, "score_threshold must be between 0 and 1"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"labels": "a,,c"}, "labels has an empty name"),
        ({"labels": []}, "labels has no names"),
        ({"labels": {"a": "b"}}, "maps class numbers to names, not a"),
        ({"labels": "nothing.txt"}, "no file 'nothing.txt' with labels"),
        ({"image_size": 640}, "image_size is for YOLO models that take images of any size"),
        ({"labels": "a,b"}, "2 labels, but the model has 3 classes"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_wrong_options(options, message, yolo_file, monkeypatch):
    available = lambda: ["AzureExecutionProvider", "CPUExecutionProvider"]  # noqa: E731
    monkeypatch.setattr(onnxruntime, "get_available_providers", available)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        onnx_detection.create(yolo_file, **options)


def test_provider_that_is_installed_but_does_not_work(yolo_file, monkeypatch):
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    made = onnxruntime.InferenceSession

    def on_cpu(path, options, providers):
        return made(path, options, providers=["CPUExecutionProvider"])  # as ONNX Runtime falls back

    monkeypatch.setattr(onnxruntime, "InferenceSession", on_cpu)
    for options in ({"providers": "cuda"}, {"device": "cuda"}):
        with pytest.raises(ValueError, match=r"'cuda' is installed but cannot be used here.*would use cpu"):
            onnx_detection.create(yolo_file, **options)
    with pytest.raises(ValueError, match="providers cpu do not use device 'cuda'"):
        onnx_detection.create(yolo_file, providers="cpu", device="cuda")
    assert onnx_detection.create(yolo_file).device == "cpu"


def test_labels_are_missing(raw_yolo, nanodet_file, tmp_path):
    file = export(raw_yolo, tmp_path / "yolo.onnx", (torch.zeros(1, 3, 96, 96),), None)
    for each in (file, nanodet_file):
        with pytest.raises(ValueError, match="names of the classes are not in .*; give them as labels"):
            onnx_detection.create(each)


def test_class_0_of_torchvision_must_be_clear(nanodet_file):
    with pytest.raises(
        ValueError, match="class 0 of torchvision's models is the background, but labels has 'cat'"
    ):
        onnx_detection.create(nanodet_file, labels="cat,dog")


def test_class_without_a_name(nanodet_file, pictures, context):
    function = onnx_detection.create(nanodet_file, labels="__background__,cat")
    contexts = [context(0.1)] * len(pictures)
    with pytest.raises(
        BadFunctionError, match=r"an object of class \d+, but labels has the names of classes 0 to 1"
    ):
        function.detect_batch(contexts, pictures)


def test_lack_of_memory_halves_the_batch(dynamic_yolo_file, pictures, context, monkeypatch):
    function = onnx_detection.create(dynamic_yolo_file, batch_size=4)
    run, sizes = function._session._session.run, []

    class Runtime:
        def run(self, outputs, inputs):
            sizes.append(len(inputs["image"]))
            if sizes[-1] > 1:
                raise Exception("Failed to allocate memory for requested buffer of size 1073741824")  # noqa: TRY002
            return run(outputs, inputs)

    function._session._session = Runtime()
    found = function.detect_batch([context(0.6)] * 3, [pictures[0]] * 3)
    assert sizes == [3, 1, 1, 1]
    assert found[0] == found[2]
    assert function.batch_size == 1


def test_missing_library_names_the_extra(yolo_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[onnx\]"'):
        onnx_detection.create(yolo_file)
