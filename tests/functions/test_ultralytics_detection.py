"""Models of ultralytics for all tasks that annotate: tiny, with random weights that are always the same."""

import importlib.util
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.auto_annotation.functions import ultralytics_detection
from prefect_cvat.auto_annotation.functions._ultralytics import import_ultralytics
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.inference.output_checks import OutputChecker
from prefect_cvat.masks import decode_mask

if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("ultralytics is not installed", allow_module_level=True)

HEADS = {
    "detect": "[[2, 3], 1, Detect, [nc]]",
    "segment": "[[2, 3], 1, Segment, [nc, 8, 16]]",
    "pose": "[[2, 3], 1, Pose, [nc, kpt_shape]]",
    "obb": "[[2, 3], 1, OBB, [nc, 1]]",
    "classify": "[-1, 1, Classify, [nc]]",
}
CONFIG = """
nc: 3
kpt_shape: {kpt_shape}
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - {head}
"""


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Builds a model of three classes; the classes of boxes have probabilities around a half."""
    home = tmp_path_factory.mktemp("ultralytics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLO_CONFIG_DIR", str(home))
        ultralytics = import_ultralytics()

    def build(task, kpt_shape=(17, 3), seed=0):
        path = home / f"{task}.yaml"
        path.write_text(CONFIG.format(head=HEADS[task], kpt_shape=list(kpt_shape)))
        torch.manual_seed(seed)
        yolo = ultralytics.YOLO(path, task=task)
        yolo.model.names = {0: "cat", 1: "dog", 2: "bird"}
        with torch.no_grad():
            for parameter in yolo.model.parameters():
                if parameter.dim() > 1 and parameter.requires_grad:  # others are no weights
                    torch.nn.init.normal_(parameter, std=0.2)
            for layers in getattr(yolo.model.model[-1], "cv3", []):
                layers[-1].bias.zero_()
        return yolo

    return build


@pytest.fixture(scope="module")
def make(build):
    made = {}

    def make(task, **options):
        if task not in made:
            made[task] = build(task)
        settings = {"score_threshold": 0.0, "image_size": 64, "device": "cpu"}
        return ultralytics_detection.create(made[task], **(settings | options))

    return make


@pytest.fixture(scope="module")
def small_photos(photos):
    """Two of one size and one of another."""
    return [photos[1].resize((120, 80)), photos[2].resize((120, 80)), photos[0].resize((70, 90))]


def predicted(build, task, image, **options):
    """What ultralytics itself finds."""
    settings = {"conf": 0.0, "iou": 0.7, "imgsz": 64, "device": "cpu", "verbose": False, "save": False}
    return build(task).predict(image, **(settings | options))[0]


@pytest.mark.parametrize("task", HEADS)
@pytest.mark.parametrize("conv_mask_to_poly", [False, True])
def test_output_can_be_uploaded(make, context, small_photos, task, conv_mask_to_poly):
    function = make(task)
    found = function.detect(context(conv_mask_to_poly=conv_mask_to_poly), small_photos[0])
    detections = OutputChecker(function.spec.labels, conv_mask_to_poly=conv_mask_to_poly).check(0, found)
    assert detections.tags if task == "classify" else len(detections.shapes) > 3
    assert [(label.id, label.name) for label in function.spec.labels] == [(0, "cat"), (1, "dog"), (2, "bird")]


def test_rectangles_are_those_of_ultralytics(build, make, context, small_photos):
    found = make("detect").detect(context(), small_photos[0])
    expected = predicted(build, "detect", small_photos[0]).boxes
    assert [shape.label_id for shape in found] == expected.cls.tolist()
    np.testing.assert_allclose([shape.points for shape in found], expected.xyxy, atol=1e-2)
    np.testing.assert_allclose([shape.score for shape in found], expected.conf, atol=1e-4)
    assert {shape.type for shape in found} == {"rectangle"}


def test_masks_are_nearly_those_of_ultralytics(build, make, context, small_photos):
    found = make("segment").detect(context(), small_photos[2])
    expected = predicted(build, "segment", small_photos[2], retina_masks=True)
    theirs = [mask.numpy() > 0 for mask in expected.masks.data]
    ours = [decode_mask(shape.points, image_width=70, image_height=90) for shape in found]
    by_score = {round(shape.score, 4): mask for shape, mask in zip(found, ours, strict=True)}
    overlaps = [
        (by_score[round(score, 4)] & mask).sum() / (by_score[round(score, 4)] | mask).sum()
        for score, mask in zip(expected.boxes.conf.tolist(), theirs, strict=True)
        if round(score, 4) in by_score and mask.sum() > 200
    ]
    assert len(overlaps) > 3
    assert np.median(overlaps) > 0.9


def test_skeletons_are_those_of_ultralytics(build, make, context, small_photos):
    function = make("pose", keypoint_threshold=0.5)
    found = function.detect(context(), small_photos[0])
    expected = predicted(build, "pose", small_photos[0]).keypoints.data
    places = [[element.points for element in shape.elements] for shape in found]
    np.testing.assert_allclose(places, expected[..., :2], atol=1e-2)
    hidden = [[element.occluded for element in shape.elements] for shape in found]
    assert hidden == (expected[..., 2] < 0.5).tolist()
    names = [sublabel.name for sublabel in function.spec.labels[0].sublabels]
    assert (names[0], names[-1], len(names)) == ("nose", "right_ankle", 17)


def test_rotated_rectangles_have_the_corners_of_ultralytics(build, make, context, small_photos):
    found = make("obb").detect(context(), small_photos[0])
    expected = predicted(build, "obb", small_photos[0]).obb.xyxyxyxy.numpy()
    assert len(found) == len(expected)
    assert len({round(shape.rotation) for shape in found}) > 2
    for shape, corners in zip(found, expected, strict=True):
        x1, y1, x2, y2 = shape.points
        centre = np.array([(x1 + x2) / 2, (y1 + y2) / 2])
        angle = np.radians(shape.rotation)
        # With y downwards this turns clockwise, as CVAT does.
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        own = [
            turn @ (np.array(corner) - centre) + centre for corner in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
        ]
        for corner in own:
            assert np.abs(corners - corner).sum(axis=1).min() < 0.05


def test_tags_are_the_best_classes(build, make, context, small_photos):
    probabilities = predicted(build, "classify", small_photos[0]).probs.data.tolist()
    best = sorted(range(3), key=lambda number: -probabilities[number])
    for top_k in (1, 2):
        found = make("classify", top_k=top_k).detect(context(), small_photos[0])
        assert [tag.label_id for tag in found] == best[:top_k]
    assert make("classify").detect(context(0.999999), small_photos[0]) == []


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_batch_detections_equal_single_image_detections(make, context, small_photos, task):
    function = make(task, batch_size=3)
    order = [small_photos[index] for index in (0, 2, 1)]
    together = function.detect_batch([context()] * 3, order)
    alone = [function.detect(context(), photo) for photo in order]
    assert alone[0] != alone[2]
    for found, expected in zip(together, alone, strict=True):
        assert [shape.label_id for shape in found] == [shape.label_id for shape in expected]
        assert [shape.score for shape in found] == pytest.approx(
            [shape.score for shape in expected], abs=1e-4
        )
        np.testing.assert_allclose(found[0].points, expected[0].points, atol=0.05)


def test_threshold_of_the_run_overrides_that_of_the_function(make, context, small_photos):
    found = make("detect").detect(context(), small_photos[0])
    middle = sorted(shape.score for shape in found)[len(found) // 2]
    strict = make("detect", score_threshold=middle, batch_size=3)
    kept, none, everything = strict.detect_batch(
        [context(), context(1.0), context(0.0)], [small_photos[0]] * 3
    )
    assert 0 < len(kept) < len(found) == len(everything)
    assert min(shape.score for shape in kept) >= middle - 1e-5
    assert none == []


def test_keypoints_have_the_given_names(build, context, small_photos):
    yolo = build("pose", kpt_shape=(4, 2))
    settings = {"score_threshold": 0.0, "image_size": 64, "device": "cpu"}
    plain = ultralytics_detection.create(yolo, **settings)
    assert [each.name for each in plain.spec.labels[0].sublabels] == ["0", "1", "2", "3"]
    named = ultralytics_detection.create(yolo, keypoint_names=["head", "tail"], **settings)
    assert [each.name for each in named.spec.labels[0].sublabels] == ["head", "tail"]
    (shape, *_) = named.detect(context(), small_photos[0])
    assert [(each.label_id, each.occluded) for each in shape.elements] == [(0, False), (1, False)]
    with pytest.raises(ValueError, match="keypoint_names has 5 names, but the model finds 4 keypoints"):
        ultralytics_detection.create(yolo, keypoint_names=list("abcde"), **settings)


def test_model_from_a_file_equals_model_object(build, make, context, small_photos, tmp_path):
    build("detect").save(tmp_path / "best.pt")
    from_file = ultralytics_detection.create(
        str(tmp_path / "best.pt"), score_threshold=0.0, image_size=64, device="cpu"
    )
    found = from_file.detect(context(), small_photos[0])
    expected = make("detect").detect(context(), small_photos[0])
    assert len(found) == len(expected)
    assert found[0].points == pytest.approx(expected[0].points, abs=0.5)  # stored in 16 bits


def test_version_depends_on_weights_and_settings_and_not_on_use(build, make, context, small_photos):
    function = make("detect")
    versions = {function.version}
    function.detect(context(), small_photos[0])
    vars(function).pop("version")
    versions |= {function.version, make("detect").version}
    assert len(versions) == 1
    other_weights = ultralytics_detection.create(
        build("detect", seed=1), score_threshold=0.0, image_size=64, device="cpu"
    )
    versions |= {
        other_weights.version,
        make("detect", iou=0.5).version,
        make("detect", image_size=96).version,
    }
    assert len(versions) == 4


def test_ultralytics_prints_and_changes_nothing(
    make, context, small_photos, capfd, caplog, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    threads, level = torch.get_num_threads(), logging.getLogger("ultralytics").level
    with caplog.at_level(logging.DEBUG):
        function = make("detect", image_size=65)  # not a multiple of the stride: it would warn
        function.detect(context(), small_photos[0])
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert list(tmp_path.iterdir()) == []
    assert (torch.get_num_threads(), logging.getLogger("ultralytics").level) == (threads, level)
    assert function._predictor.callbacks == {}  # among them was the one that reports to its makers


OFFLINE = """
import os, socket
before = dict(os.environ)
def refuse(*args, **kwargs):
    raise SystemExit(f"a call to the network: {args}")
socket.getaddrinfo = socket.socket.connect = refuse
from prefect_cvat.auto_annotation.functions._ultralytics import import_ultralytics
import_ultralytics()
from ultralytics.utils import AUTOINSTALL, events
assert not AUTOINSTALL and not events.events.enabled
assert dict(os.environ) == before
"""


def test_import_makes_no_connection_and_keeps_the_environment(tmp_path):
    environment = os.environ | {"YOLO_CONFIG_DIR": str(tmp_path)}
    for name in ("PYTEST_CURRENT_TEST", "OMP_NUM_THREADS"):
        environment.pop(name, None)
    run = subprocess.run([sys.executable, "-c", OFFLINE], capture_output=True, text=True, env=environment)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(FunctionLoadError, match=r'pip install "prefect-cvat\[ultralytics\]"'):
        ultralytics_detection.create("yolo11n.pt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou": 1.5}, "iou must be between 0 and 1, not 1.5"),
        ({"tolerance": -1}, "tolerance must be 0 or more, not -1"),
        ({"top_k": 0}, "top_k must be 1 or more, not 0"),
        ({"keypoint_names": ["a"]}, "a model for 'detect' has no keypoints to name"),
        ({"score_threshold": 2}, "score_threshold must be between 0 and 1, not 2"),
    ],
)
def test_settings_out_of_range_are_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make("detect", **options)


def test_invalid_models_are_refused():
    with pytest.raises(TypeError, match="model must be a file or a model of ultralytics, not Identity"):
        ultralytics_detection.create(torch.nn.Identity())


def test_a_task_is_annotated_with_it(make, client, make_task):
    task_id = make_task(3, labels=[label_spec(name, None) for name in ("cat", "dog", "bird")])
    annotate_task(client, task_id, make("segment"))
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    assert {shape["frame"] for shape in shapes} == {0, 1, 2}
    assert {shape["type"] for shape in shapes} == {"mask"}
