"""Skeletons by ViTPose in the boxes of another function."""

import numpy as np
import pytest
import torch

from prefect_cvat import TaskLabel, annotate_task
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    keypoint_spec,
    label_spec,
    points,
    polygon,
    rectangle,
    skeleton_label_spec,
)
from prefect_cvat.auto_annotation.function_for_task import make_function
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError
from prefect_cvat.inference.output_checks import OutputChecker

pytest.importorskip("transformers")

from prefect_cvat.auto_annotation.functions import tiled, transformers_pose
from tiny_detectors import detr, model_and_processor
from tiny_pose_models import KEYPOINTS, vitpose, vitpose_plus

BOXES = [[100.0, 50.0, 260.0, 400.0], [300.0, 100.0, 420.0, 180.0]]
NAMED = ("nose", "left-eye", "eyeRight", "left_hip", "Right Hip")
PERSON = TaskLabel("person", "skeleton", points=NAMED)


class Boxes:
    """Finds the same boxes on all images."""

    spec = DetectionFunctionSpec(labels=[label_spec("person", 3), label_spec("dog", 5)])
    version = "1"
    score_threshold = 0.4

    def __init__(self, *found):
        self.found = found or [rectangle(3, box, score=0.9 - index / 4) for index, box in enumerate(BOXES)]
        self.is_closed = False

    def detect(self, context, image):
        return self.found

    def close(self):
        self.is_closed = True


def make(family=vitpose, **options):
    model, processor = model_and_processor(family)
    settings = {"task_labels": [PERSON], "model": model, "processor": processor, "detector": Boxes()}
    return transformers_pose.create(**(settings | {"device": "cpu"} | options))


def expected_poses(photo, family=vitpose, **inputs_of_model):
    """What the processor makes of the model's outputs for the boxes."""
    model, processor = model_and_processor(family)
    boxes = [[[left, top, right - left, bottom - top] for left, top, right, bottom in BOXES]]
    inputs = processor([photo], boxes=boxes, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs, **inputs_of_model)
    (poses,) = processor.post_process_pose_estimation(outputs, boxes=boxes)
    return poses


def assert_poses(shapes, poses):
    assert len(shapes) == len(poses) == len(BOXES)
    for shape, pose in zip(shapes, poses, strict=True):
        places = [element.points for element in shape.elements]
        np.testing.assert_allclose(places, pose["keypoints"], rtol=1e-4, atol=1e-2)
        scores = [element.score for element in shape.elements]
        np.testing.assert_allclose(scores, pose["scores"].clamp(0, 1), atol=1e-4)


def test_keypoints_equal_those_of_the_processor(context, photos):
    function = make()
    for photo in photos:
        found = function.detect(context(), photo)
        assert_poses(found, expected_poses(photo))
        assert [shape.score for shape in found] == [0.9, 0.65]
        OutputChecker(function.spec.labels).check(0, found)
    first, second = found
    assert first.elements[0].points != second.elements[0].points


def test_keypoints_of_a_model_of_several_data_sets_equal_those_of_the_processor(context, photos):
    found = []
    for dataset in (0, 2):
        found.append(make(vitpose_plus, dataset=dataset).detect(context(), photos[0]))
        numbers = torch.full((len(BOXES),), dataset)
        assert_poses(found[-1], expected_poses(photos[0], vitpose_plus, dataset_index=numbers))
    assert found[0][0].elements[0].points != found[1][0].elements[0].points


def test_boxes_of_several_images_go_together(context, photos):
    function = make(batch_size=3)
    model, _ = model_and_processor(vitpose)
    sizes = []
    hook = model.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["pixel_values"])), with_kwargs=True
    )
    try:
        found = function.detect_batch([context()] * 3, photos)
    finally:
        hook.remove()
    assert sizes == [3, 3]
    for shapes, photo in zip(found, photos, strict=True):
        assert_poses(shapes, expected_poses(photo))


def test_points_of_the_task_are_matched_by_name(context, photos):
    label = TaskLabel("person", "skeleton", points=("tail", "right_eye", "nose"))
    function = make(task_labels=[TaskLabel("car", "rectangle"), label])
    (spec,) = function.spec.labels
    assert [(point.name, point.id) for point in spec.sublabels] == [
        ("nose", 0),
        ("right_eye", 2),
        ("tail", 5),
    ]
    shape, _ = function.detect(context(), photos[0])
    expected, _ = expected_poses(photos[0])
    nose, eye, tail = shape.elements
    np.testing.assert_allclose(nose.points, expected["keypoints"][0], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(eye.points, expected["keypoints"][2], rtol=1e-4, atol=1e-2)
    assert (tail.outside, tail.points) == (True, [180.0, 225.0])
    OutputChecker(function.spec.labels).check(0, [shape])


def test_points_without_known_names_are_matched_by_order():
    function = make(task_labels=[TaskLabel("person", "skeleton", points=("1", "2", "3", "4", "5"))])
    assert [(point.id, point.name) for point in function.spec.labels[0].sublabels] == [
        *enumerate(("1", "2", "3", "4", "5"))
    ]
    names = ("Schwanz", "Ohr", "Auge", "Fuß", "Nase")
    function = make(task_labels=[TaskLabel("person", "skeleton", points=("Ohr",))], keypoint_names=names)
    assert [(point.id, point.name) for point in function.spec.labels[0].sublabels] == [(1, "Ohr")]


def test_without_a_task_the_names_are_those_of_the_model():
    (label,) = make(task_labels=None).spec.labels
    assert (label.name, tuple(point.name for point in label.sublabels)) == ("person", KEYPOINTS)
    (label,) = make(task_labels=None, labels={"dog": "animal"}).spec.labels
    assert label.name == "animal"


def test_skeletons_are_found_in_boxes_of_their_name(context, photos):
    dog = TaskLabel("Dog", "skeleton", points=("nose",))
    function = make(task_labels=[dog, PERSON], detector=Boxes(rectangle(5, BOXES[0]), rectangle(3, BOXES[1])))
    found = function.detect(context(), photos[0])
    assert [shape.label_id for shape in found] == [0, 1]
    assert [label.name for label in function.spec.labels] == ["Dog", "person"]
    only = make(task_labels=[TaskLabel("walker", "skeleton", points=NAMED)])
    assert [label.name for label in only.spec.labels] == ["walker"]
    assert len(only.detect(context(), photos[0])) == 2
    chosen = make(task_labels=[dog, PERSON], labels={"dog": "person"})
    assert [label.name for label in chosen.spec.labels] == ["person"]
    assert chosen.detect(context(), photos[0]) == []


def test_other_shapes_of_the_detector_have_boxes_too(context, photos):
    left, top, right, bottom = BOXES[0]
    outline = polygon(3, [left, top, right, top, right, bottom, left, bottom])
    without_area = [points(3, [10, 10]), rectangle(3, [20, 20, 20, 50])]
    found = make(detector=Boxes(outline, *without_area)).detect(context(), photos[0])
    assert len(found) == 1
    for element, other in zip(
        found[0].elements, make().detect(context(), photos[0])[0].elements, strict=True
    ):
        assert element.points == pytest.approx(other.points, rel=1e-4)
    assert found[0].score is None
    assert make(detector=Boxes(*without_area)).detect(context(), photos[0]) == []


@pytest.mark.parametrize("hidden", ["occluded", "outside"])
def test_keypoints_with_low_scores_are_hidden(hidden, context, photos):
    function = make(hidden=hidden)
    found = function.detect(context(), photos[0])
    assert not any(element.occluded or element.outside for element in found[0].elements)
    with torch.no_grad():
        function._model.head.conv.weight *= 0.01
        function._model.head.conv.bias *= 0.01
    try:
        scores = [each.score for shape in function.detect(context(), photos[0]) for each in shape.elements]
        middle = sorted(scores)[len(scores) // 2]
        function.keypoint_threshold = middle
        found = function.detect(context(), photos[0])
    finally:
        with torch.no_grad():
            function._model.head.conv.weight *= 100
            function._model.head.conv.bias *= 100
    marks = [getattr(each, hidden) for shape in found for each in shape.elements]
    assert marks == [score < middle for score in scores]
    assert any(marks)


def test_model_in_a_folder_with_a_detector_by_name(context, photos, tmp_path):
    model, processor = model_and_processor(vitpose)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    by_name = {"model": str(tmp_path), "processor": None}
    options = {"detector": "nanodet_detection", "detector_options": {"score_threshold": 0.2}}
    function = make(**by_name, **options)
    found = function.detect(context(), photos[0])
    assert found
    assert function.score_threshold == function.detector.score_threshold == 0.2
    people = [each for each in function.detector.detect(context(), photos[0]) if each.label_id == 0]
    assert [shape.score for shape in found] == [each.score for each in people]
    assert function.version == make(**by_name, **options).version
    loaded = load_function("transformers_pose", {"model": str(tmp_path), "device": "cpu"})
    (label,) = make_function(loaded).spec.labels  # where there is no task
    assert (label.name, tuple(point.name for point in label.sublabels)) == ("person", KEYPOINTS)
    on_tiles = tiled.create("nanodet_detection", tile=256, device="cpu")
    assert make(detector=on_tiles).detect(context(), photos[0])


def test_detector_that_is_made_for_a_task_looks_for_the_skeletons(context, photos, tmp_path):
    from tiny_word_models import owlv2

    model, processor = model_and_processor(owlv2)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    walker = TaskLabel("walking_person", "skeleton", points=NAMED)
    options = {"model": str(tmp_path), "prompts": {"walking_person": "a walker"}, "score_threshold": 0.3}
    function = make(task_labels=[walker], detector="open_vocabulary_detection", detector_options=options)
    assert [label.name for label in function.detector.spec.labels] == ["walking_person"]
    assert function.detector.prompts[0].words == ("a walker",)
    assert function.detect(context(), photos[0])


def test_version_depends_on_the_detector_and_the_settings():
    other = Boxes()
    other.version = "2"
    changes = [
        {},
        {},
        {"detector": other},
        {"keypoint_threshold": 0.5},
        {"hidden": "outside"},
        {"dataset": 1},
    ]
    versions = [make(**change).version for change in changes]
    assert versions[0] == versions[1]
    assert len(set(versions)) == 5
    unversioned = type("Unversioned", (), {"spec": Boxes.spec, "detect": Boxes.detect})()
    assert not hasattr(make(detector=unversioned), "version")


def test_close_closes_the_detector(context, photos):
    detector = Boxes()
    function = make(detector=detector)
    assert function.nested_functions == [detector]
    function.close()
    assert detector.is_closed
    with pytest.raises(RuntimeError, match="the function is closed"):
        function.detect(context(), photos[0])


CAR = TaskLabel("car", "rectangle")
SPINE = TaskLabel("person", "skeleton", points=("spine", "tail"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"task_labels": [CAR]}, BadFunctionError, "the task has no label of type skeleton"),
        ({"task_labels": [SPINE]}, BadFunctionError, "skeleton 'person' has 2 points .* the model finds 5 keypoints"),
        ({"labels": {"cow": "person"}}, BadFunctionError, "labels names 'cow', not labels of the detector; it has 'per"),
        ({"labels": {"dog": "wolf"}}, BadFunctionError, "labels names 'wolf', not skeletons of the task; it has 'pers"),
        ({"keypoint_names": ["nose"]}, ValueError, "keypoint_names has 1 names, but the model finds 5 keypoints"),
        ({"keypoint_threshold": 2}, ValueError, "keypoint_threshold must be between 0 and 1, not 2"),
        ({"hidden": "gone"}, ValueError, "hidden must be 'occluded' or 'outside', not 'gone'"),
        ({"detector_options": {"tile": 3}}, TypeError, "only a detector by name takes detector_options"),
        ({"detector": "nanodet"}, FunctionLoadError, "there is no function 'nanodet'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_names_that_no_box_has_are_refused():
    two = [TaskLabel(name, "skeleton", points=NAMED) for name in ("cow", "horse")]
    with pytest.raises(BadFunctionError) as refused:
        make(task_labels=two)
    assert str(refused.value) == (
        "no label of the detector has the name of a skeleton ('cow', 'horse'); say with labels which of its"
        " labels it is: 'person', 'dog'"
    )


def test_other_models_are_refused():
    model, processor = model_and_processor(detr)
    with pytest.raises(TypeError, match="a model for object detection; use it with transformers_detection"):
        make(model=model, processor=processor)


def test_a_task_with_skeletons_is_annotated(client, make_task):
    points_of_task = [keypoint_spec(name, None) for name in (*NAMED, "tail")]
    task_id = make_task(3, labels=[skeleton_label_spec("person", None, points_of_task)])
    boxes = Boxes(*(rectangle(3, [5, 5, 40, 60], score=score) for score in (0.9, 0.6)))
    model, processor = model_and_processor(vitpose)

    def function(*, task_labels):
        return transformers_pose.create(
            task_labels=task_labels, model=model, processor=processor, detector=boxes, device="cpu"
        )

    annotate_task(client, task_id, function)
    shapes = [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]
    assert len(shapes) == 6
    assert {shape["type"] for shape in shapes} == {"skeleton"}
    assert {len(shape["elements"]) for shape in shapes} == {6}
    assert [sum(element["outside"] for element in shape["elements"]) for shape in shapes].count(0) == 0
