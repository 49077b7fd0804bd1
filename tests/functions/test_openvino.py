"""Models on OpenVINO find what they find in torch; converted once, they are read from disk."""

import importlib.util
import logging
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from prefect_cvat.auto_annotation.functions import (
    _openvino_conversion,
    _torch_threads,
    nanodet_detection,
    torchvision_classification,
    torchvision_detection,
    torchvision_instance_segmentation,
    torchvision_keypoint_detection,
)
from prefect_cvat.auto_annotation.functions._openvino_cache import converted_models
from prefect_cvat.exceptions import FunctionLoadError

if importlib.util.find_spec("openvino") is None:
    pytest.skip("OpenVINO is not installed (extra openvino)", allow_module_level=True)

LABELS = {number: f"class {number}" for number in range(1, 5)}


@pytest.fixture(scope="module", autouse=True)
def converted(tmp_path_factory):
    """The folder of converted models, which the tests of this module share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("PREFECT_CVAT_RUNTIME", "auto")
        yield


@pytest.fixture
def conversions(monkeypatch):
    """Counts the parts that are converted."""
    seen = []
    convert = _openvino_conversion._converted
    monkeypatch.setattr(
        _openvino_conversion,
        "_converted",
        lambda part, calls: seen.append(type(part).__name__) or convert(part, calls),
    )
    return seen


def small_detector(name):
    torch.manual_seed(0)
    options = {"box_score_thresh": 0.0} if "rcnn" in name else {"score_thresh": 0.0, "topk_candidates": 20}
    model = get_model(name, weights=None, weights_backbone=None, num_classes=5, **options)
    # without trained weights the features would be all but zero
    if "rcnn" in name:
        for layer in model.backbone.fpn.layer_blocks:
            layer[0].weight.data.mul_(1e7)
    else:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    return model


def distance(one, other):
    """Between the corners of boxes, or of the boxes of masks, in pixels."""
    return max((abs(a - b) for a, b in zip(one.points[-4:], other.points[-4:], strict=True)), default=0)


def assert_same(found, expected):
    """Each annotation has an equal one: the order of those with nearly equal scores may differ."""
    assert len(found) == len(expected) > 0
    left = list(found)
    for wanted in expected:
        place = next(
            index
            for index, each in enumerate(left)
            if each.label_id == wanted.label_id
            and abs(getattr(each, "score", 0) - getattr(wanted, "score", 0)) <= 0.01
            and (not hasattr(each, "points") or each.points is None or distance(each, wanted) <= 1)
        )
        del left[place]


def both(module, **settings):
    return [
        module.create(runtime=runtime, device="cpu", **settings).detect_batch
        for runtime in ("openvino", "torch")
    ]


def test_nanodet_finds_the_same_on_photographs(context, data):
    import PIL.Image

    images = [
        PIL.Image.open(path).convert("RGB") for path in sorted((data / "coco-photos").glob("**/*.jpg"))[:6]
    ]
    contexts = [context(0.1) for _ in images]
    found, expected = (detect(contexts, images) for detect in both(nanodet_detection))
    assert len({image.size for image in images}) > 1
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_detectors_find_the_same_on_images_of_several_sizes(name, context, photos, caplog):
    function, in_torch = (
        torchvision_detection.create(
            model=small_detector(name), label_map=LABELS, device="cpu", batch_size=2, runtime=runtime
        )
        for runtime in ("openvino", "torch")
    )
    contexts = [context(0.0) for _ in photos]
    found, expected = function.detect_batch(contexts, photos), in_torch.detect_batch(contexts, photos)
    assert function.runtime == "openvino", caplog.text
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def test_masks_are_the_same(random_mask_rcnn, context, photos):
    detections = both(torchvision_instance_segmentation, model=random_mask_rcnn, label_map=LABELS)
    found, expected = (detect([context(0.0)], photos[:1])[0] for detect in detections)
    assert_same(found, expected)
    areas = [sum(sum(shape.points[1:-4:2]) for shape in shapes) for shapes in (found, expected)]
    assert areas[0] == pytest.approx(areas[1], rel=0.001)


def test_skeletons_are_the_same(random_keypoint_rcnn, context, photos):
    detections = both(torchvision_keypoint_detection, model=random_keypoint_rcnn)
    found, expected = (detect([context(0.0)], photos[:1])[0] for detect in detections)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=0.01)
        places = [[point for part in each.elements for point in part.points] for each in (one, other)]
        assert places[0] == pytest.approx(places[1], abs=1)


def test_classes_are_the_same(random_classifier, context, photos):
    detections = both(
        torchvision_classification, model=random_classifier, label_map={0: "cat", **LABELS}, top_k=3
    )
    found, expected = (detect([context()] * 3, photos) for detect in detections)
    assert found == expected
    assert all(found)


def test_second_function_reads_the_converted_model(
    context, photos, conversions, caplog, monkeypatch, tmp_path
):
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path))
    with caplog.at_level(logging.INFO):
        first = nanodet_detection.create(device="cpu").detect(context(), photos[0])
    assert caplog.text.count("converting NanoDet for OpenVINO") == 1
    assert len(conversions) == 1
    assert nanodet_detection.create(device="cpu", score_threshold=0.4).detect(context(), photos[0]) == first
    assert len(conversions) == 1
    ((file, _),) = converted_models().entries()
    assert file.stat().st_mode & 0o777 == 0o600


def test_processes_at_once_convert_a_model_once(tmp_path):
    code = """
import logging, PIL.Image
from types import SimpleNamespace
from prefect_cvat.auto_annotation.functions import nanodet_detection

logging.basicConfig(level=logging.INFO)
function = nanodet_detection.create(device="cpu")
function.detect(SimpleNamespace(conf_threshold=0.5), PIL.Image.new("RGB", (64, 64)))
print(function.runtime)
"""
    environment = {**os.environ, "PREFECT_CVAT_CACHE_DIR": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=-1, stderr=-1, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [out for out, _ in outputs] == ["openvino\n"] * 2
    assert sum(errors.count("converting NanoDet") for _, errors in outputs) == 1


@pytest.mark.parametrize(
    "damage", [lambda data: data[:1000], lambda data: data[:-1] + b"?", lambda data: b""]
)
def test_damaged_file_is_made_again(context, photos, conversions, caplog, damage):
    expected = nanodet_detection.create(device="cpu").detect(context(), photos[0])
    conversions.clear()
    files = [path for path, _ in converted_models().entries()]
    for file in files:
        file.write_bytes(damage(file.read_bytes()))
    assert nanodet_detection.create(device="cpu").detect(context(), photos[0]) == expected
    assert len(conversions) == 1
    assert "are invalid and are made again" in caplog.text


def test_folder_that_cannot_be_written_costs_a_conversion(
    context, photos, conversions, caplog, monkeypatch, tmp_path
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / "file"))
    function = nanodet_detection.create(device="cpu")
    assert function.detect(context(), photos[0])
    assert function.runtime == "openvino"
    assert len(conversions) == 1
    assert "cannot be kept" in caplog.text


class Uneven(nn.Module):
    """A classifier whose number of steps depends on the pixels, which a trace does not show."""

    def forward(self, images):
        steps = int(images.sum().abs() * 1000) % 1009  # hardly ever the same for the two images of the trace
        return torch.stack([images.mean((1, 2, 3)) * steps, images[:, 0].mean((1, 2)) + steps], 1)


class Unknown(nn.Module):
    """A detector of the user's own."""

    def forward(self, images):
        return [
            {"boxes": torch.ones(1, 4), "labels": torch.ones(1).int(), "scores": torch.ones(1)}
            for _ in images
        ]


@pytest.mark.parametrize(
    ("module", "model", "reason"),
    [
        (torchvision_classification, Uneven, "returns something else than in torch"),
        (torchvision_detection, Unknown, "none of torchvision's detectors"),
    ],
)
def test_model_that_cannot_be_converted_runs_in_torch(module, model, reason, context, photos, caplog):
    function = module.create(model=model(), label_map={0: "a", 1: "b"}, device="cpu")
    expected = module.create(model=model(), label_map={0: "a", 1: "b"}, device="cpu", runtime="torch")
    for photo in photos:
        assert function.detect(context(), photo) == expected.detect(context(), photo)
    (line,) = (record.getMessage() for record in caplog.records if "runs in torch" in record.getMessage())
    assert reason in line
    assert len(line) < 1000
    assert function.runtime == "torch"


def test_version_is_that_of_torch():
    versions = {
        nanodet_detection.create(device="cpu", runtime=runtime).version for runtime in ("openvino", "torch")
    }
    assert len(versions) == 1


def test_threads_of_torch_are_as_before(context, photos, random_classifier):
    threads = torch.get_num_threads()
    nanodet_detection.create(device="cpu").detect(context(), photos[0])
    assert torch.get_num_threads() == threads
    with _torch_threads.torch_on_one_thread():
        assert torch.get_num_threads() == 1
        assert _torch_threads.available_threads() == threads


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runtime": "onnx"}, "no runtime 'onnx'; there are auto, torch, openvino"),
        ({"runtime": "openvino", "half_precision": True}, "half_precision needs runtime 'torch'"),
        ({"runtime": "openvino", "device": "meta"}, "is for the CPU, and the device is 'meta'"),
    ],
)
def test_runtime_that_cannot_be_used_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        nanodet_detection.create(**{"device": "cpu", **settings})


def test_half_precision_runs_in_torch():
    assert nanodet_detection.create(device="cpu", half_precision=True).runtime == "torch"


def test_setting_chooses_torch(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_RUNTIME", "torch")
    assert nanodet_detection.create(device="cpu").runtime == "torch"
    assert nanodet_detection.create(device="cpu", runtime="openvino").runtime == "openvino"


def test_missing_openvino_is_named(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[openvino\]"'):
        nanodet_detection.create(device="cpu", runtime="openvino")


def test_openvino_reports_nothing_to_its_maker():
    assert sys.modules["openvino_telemetry"] is None
