"""ONNX files, labels, options and providers that `onnx_detection` takes or refuses."""

import subprocess
import sys

import PIL.Image
import pytest
import torch
from torch import nn

from onnx_exports import YOLO_CLASSES, YOLO_METADATA, RawYolo, export
from prefect_cvat.auto_annotation import BadFunctionError
from prefect_cvat.auto_annotation.functions import (
    onnx_detection,
)
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.inference.output_checks import OutputChecker

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


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
