"""Several functions as one: fusion, votes, weights, and what cannot be fused."""

from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    attribute_spec,
    ellipse,
    keypoint_spec,
    label_spec,
    mask,
    points,
    polygon,
    rectangle,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.functions import ensemble, tiled
from prefect_cvat.auto_annotation.functions._weighted_boxes import fuse_boxes
from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel
from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import AttributeValRequest

CONTEXT = SimpleNamespace(frame_name="frame.png", conf_threshold=None, conv_mask_to_poly=False)
IMAGE = PIL.Image.new("RGB", (200, 100))
CAR = label_spec("car", 7)


class Fixed:
    """Finds the same on every image."""

    version = "1"

    def __init__(self, *found, labels=(CAR,)):
        self.spec = DetectionFunctionSpec(labels=list(labels))
        self.found = found
        self.thresholds = []

    def detect(self, context, image):
        self.thresholds.append(context.conf_threshold)
        return list(self.found)


class Closable(Fixed):
    """Cannot be used any more when it is closed."""

    is_closed = False

    def detect(self, context, image):
        assert not self.is_closed
        return super().detect(context, image)

    def close(self):
        assert not self.is_closed, "closed twice"
        self.is_closed = True


class InSteps(Fixed):
    """The same in three steps."""

    def preprocess_image(self, context, image):
        return image.size

    def infer_batch(self, contexts, inputs):
        return [(size, self.found) for size in inputs]

    def postprocess(self, context, output):
        return list(output[1])


def car(box, score, label_id=7):
    return rectangle(label_id, box, score=score)


def detect(*functions, context=CONTEXT, **options):
    options.setdefault("score_threshold", 0.0)
    return ensemble.create(list(functions), **options).detect(context, IMAGE)


def test_boxes_of_an_object_are_averaged_by_score():
    [found] = detect(Fixed(car([10, 10, 50, 50], 0.9)), Fixed(car([14, 10, 54, 50], 0.3)))
    assert found.points == pytest.approx([11, 10, 51, 50])
    assert found.score == pytest.approx(0.6)


def test_what_only_one_function_finds_has_a_lower_score():
    both, one = detect(
        Fixed(car([10, 10, 50, 50], 0.8), car([100, 10, 150, 50], 0.8)), Fixed(car([10, 10, 50, 50], 0.8))
    )
    assert (both.score, one.score) == pytest.approx((0.8, 0.4))
    assert one.points == [100, 10, 150, 50]


def test_label_that_one_function_does_not_have_keeps_its_score():
    dog = label_spec("dog", 1)
    found = detect(
        Fixed(car([10, 10, 50, 50], 0.8)),
        Fixed(rectangle(1, [100, 10, 150, 50], score=0.7), labels=[dog]),
    )
    assert sorted(shape.score for shape in found) == pytest.approx([0.7, 0.8])
    assert {shape.label_id for shape in found} == {0, 1}


def test_two_boxes_of_one_function_stay_two_objects():
    near = [car([10, 10, 50, 50], 0.9), car([12, 10, 52, 50], 0.8)]
    assert len(detect(Fixed(*near), Fixed(near[0]))) == 2


def test_functions_are_asked_for_what_may_be_a_second_vote():
    functions = Fixed(car([10, 10, 50, 50], 0.9)), Fixed(car([10, 10, 50, 50], 0.1))
    context = SimpleNamespace(frame_name="a", conf_threshold=0.5, conv_mask_to_poly=False)
    [found] = detect(*functions, context=context)
    assert functions[0].thresholds == [0.05]
    assert found.score == pytest.approx(0.5)
    assert detect(*functions, context=CONTEXT, score_threshold=0.6) == []


def test_minimum_number_of_votes():
    functions = (
        Fixed(car([10, 10, 50, 50], 0.9), car([100, 10, 150, 50], 0.9)),
        Fixed(car([10, 10, 50, 50], 0.9)),
    )
    assert len(detect(*functions, min_votes=1)) == 2
    assert len(detect(*functions, min_votes=2)) == 1


def test_weights_for_all_labels_and_by_label():
    functions = {"good": Fixed(car([10, 10, 50, 50], 0.9)), "bad": Fixed(car([14, 10, 54, 50], 0.3))}
    dog = Fixed(labels=[label_spec("dog", 1)])
    for weight in (3.0, {"car": 3.0}, {"dog": 3.0, "bus": None}, {"car": 3.0, "dog": 0.0}):
        made = ensemble.create({**functions, "dog": dog}, weights={"good": weight})
        [found] = made.detect(CONTEXT, IMAGE)
        assert found.score == pytest.approx((3 * 0.9 + 0.3) / 4)
        assert found.points[0] == pytest.approx((10 * 2.7 + 14 * 0.3) / 3)


def test_masks_are_not_averaged_the_best_stays():
    bitmap = np.ones((40, 40), bool)
    masks = Fixed(mask(7, encode_mask(bitmap, offset=(10, 10)), score=0.6))
    [found] = detect(masks, Fixed(car([10, 10, 50, 50], 0.8)))
    assert (found.type, found.score) == ("mask", pytest.approx(0.7))
    context = SimpleNamespace(frame_name="a", conf_threshold=None, conv_mask_to_poly=True)
    [found] = detect(masks, Fixed(car([10, 10, 50, 50], 0.8)), context=context)
    assert (found.type, found.score) == ("polygon", pytest.approx(0.7))
    assert (min(found.points), max(found.points)) == (10, 50)


def test_polygons_ellipses_and_turned_boxes_are_compared_by_their_boxes():
    outline = polygon(7, [10, 10, 50, 10, 50, 50, 10, 50], score=0.5)
    round_one = ellipse(7, [30, 30, 50, 10], score=0.7)
    turned = rectangle(7, [10, 10, 50, 50], score=0.9, rotation=90)
    [found] = detect(Fixed(outline), Fixed(round_one), Fixed(turned))
    assert (found.type, found.rotation, found.score) == ("rectangle", 90, pytest.approx(0.7))


def test_tag_stays_with_half_of_the_weight():
    labels = [label_spec("day", 1, type="tag"), label_spec("rain", 2, type="tag")]
    functions = {
        "a": Fixed(tag(1), tag(2), labels=labels), "b": Fixed(tag(1), labels=labels), "c": Fixed(labels=labels)
    }  # fmt: skip
    assert [each.label_id for each in ensemble.create(functions).detect(CONTEXT, IMAGE)] == [0]
    made = ensemble.create(functions, weights={"a": 3})
    assert [each.label_id for each in made.detect(CONTEXT, IMAGE)] == [0, 1]


def test_attributes_are_those_of_the_best_shape_with_the_ids_of_the_ensemble():
    def labels(*names):
        return [
            label_spec(
                "car", 7, attributes=[attribute_spec(n, 30 + i, "text", []) for i, n in enumerate(names)]
            )
        ]

    def with_value(score, value):
        attribute = AttributeValRequest(spec_id=30, value=value)
        return rectangle(7, [10, 10, 50, 50], score=score, attributes=[attribute])

    functions = [
        Fixed(with_value(0.5, "red"), labels=labels("colour", "make")),
        Fixed(with_value(0.8, "x1"), labels=labels("model", "make")),
    ]
    made = ensemble.create(functions)
    [label] = made.spec.labels
    names = {attribute.id: attribute.name for attribute in label.attributes}
    [found] = made.detect(CONTEXT, IMAGE)
    [value] = found.attributes
    assert (names[value.spec_id], value.value) == ("model", "x1")
    assert sorted(names.values()) == ["colour", "make", "model"]


def test_functions_in_three_steps_make_one_in_three_steps():
    boxes = car([10, 10, 50, 50], 0.9), car([14, 10, 54, 50], 0.3)
    made = ensemble.create([InSteps(boxes[0]), InSteps(boxes[1])])
    inputs = [made.preprocess_image(CONTEXT, IMAGE)] * 2
    outputs = made.infer_batch([CONTEXT] * 2, inputs)
    in_steps = [made.postprocess(CONTEXT, output) for output in outputs]
    assert in_steps == made.detect_batch([CONTEXT] * 2, [IMAGE] * 2)
    assert not hasattr(ensemble.create([InSteps(boxes[0]), Fixed(boxes[1])]), "infer_batch")


def test_function_is_made_from_parameters_of_the_command_line():
    made = load_function(
        "ensemble",
        {"whole": "nanodet_detection", "whole.device": "cpu", "tiles": "tiled", "tiles.tile": 300,
         "tiles.function": "nanodet_detection", "tiles.device": "cpu", "min_votes": 2},
    )  # fmt: skip
    assert list(made.functions) == ["whole", "tiles"]
    assert (made.device, made.functions["tiles"].tile) == ("cpu", 300)
    found = made.detect(CONTEXT, PIL.Image.fromarray(skimage.data.coffee()))
    assert "cup" in {made.spec.labels[shape.label_id].name for shape in found}


def test_device_is_passed_on_to_functions_that_are_given_by_name():
    made = ensemble.create(
        {"whole": "nanodet_detection", "own": Fixed()},
        tiles="tiled",
        device="cpu",
        batch_size=3,
        **{"tiles.function": "nanodet_detection", "whole.batch_size": 5},
    )
    assert made.functions["whole"].device == made.functions["tiles"].device == "cpu"
    assert made.functions["whole"].batch_size == 5
    assert made.functions["tiles"].function.batch_size == 3


def test_version_depends_on_functions_and_settings():
    one, two = Fixed(), Fixed()
    versions = {
        ensemble.create([one, two], **options).version
        for options in (
            {},
            {"iou": 0.5},
            {"min_votes": 2},
            {"weights": {"function1": 2}},
            {"vote_threshold": 0.1},
        )
    }
    assert len(versions) == 5
    two.version = "2"
    assert ensemble.create([one, two]).version not in versions


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, FunctionLoadError, "two or more functions, not 0"),
        ({"a": "tiled", "b": "nanodet"}, FunctionLoadError, "'tiled' does not take these parameters"),
        ({"a": "nanodet", "b": "nanodet"}, FunctionLoadError, "there is no function 'nanodet'"),
        ({"a": "../a.py", "b": "nanodet_detection"}, FunctionLoadError, "is a path"),
        ({"iou": 2}, FunctionLoadError, "iou must be between 0 and 1"),
        ({"uoi": 0.5}, FunctionLoadError, "uoi is neither a setting"),
        ({"c.tile": 3}, FunctionLoadError, "c.tile belongs to no function"),
        ({"weights": {"c": 1}}, FunctionLoadError, "weights names c; the functions are function1, function2"),
        ({"weights": {"function1": {"car": -1}}}, FunctionLoadError, "must be finite and 0 or more, not"),
        (
            {"weights": {"function1": float("nan")}},
            FunctionLoadError,
            "must be finite and 0 or more, not nan",
        ),
        (
            {"weights": {"function1": {"car": float("inf")}}},
            FunctionLoadError,
            "must be finite and 0 or more",
        ),
        (
            {"weights": {"function1": 0, "function2": {"car": 0.0}}},
            FunctionLoadError,
            "weights of function1, function2 for 'car' are all 0",
        ),
        (
            {"weights": {"function1": {"carr": 0.9}}},
            FunctionLoadError,
            "the weights of function1 name 'carr', .*; did you mean 'car'",
        ),
        ({"min_votes": 3}, FunctionLoadError, "min_votes must be between 1 and 2"),
    ],
)
def test_wrong_parameters_are_named(options, error, message):
    two = {} if not options or "a" in options else {"functions": [Fixed(), Fixed()]}
    with pytest.raises(error, match=message):
        load_function("ensemble", {**two, **options})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [skeleton_label_spec("car", 7, [keypoint_spec("a", 1)])],
            "label 'car' of 'function2' has the type 'skel",
        ),
        ([label_spec("car", 7, type="polyline")], "'polyline'"),
        (
            [label_spec("car", 7, attributes=[attribute_spec("colour", 1, "select", ["blue"])])],
            r"attribute 'colour' of label 'car' has the values \['red'\] in 'function1' and \['blue'\]",
        ),
    ],
)
def test_labels_that_do_not_fit_together_are_refused(labels, message):
    first = [label_spec("car", 7, attributes=[attribute_spec("colour", 1, "select", ["red"])])]
    with pytest.raises(BadFunctionError, match=message):
        ensemble.create([Fixed(labels=first), Fixed(labels=labels)])


def test_points_are_refused():
    with pytest.raises(BadFunctionError, match="'function2' returned a shape of type 'points'"):
        detect(Fixed(), Fixed(points(7, [1, 2], score=0.5)))


boxes_of_functions = st.lists(
    st.tuples(
        st.integers(0, 60), st.integers(0, 60), st.integers(5, 40), st.integers(5, 40),
        st.floats(0, 1), st.integers(0, 2),
    ),
    max_size=25,
)  # fmt: skip


@given(boxes_of_functions)
def test_each_box_is_in_one_object_inside_the_extent_of_its_boxes(found):
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _, _ in found], dtype=float).reshape(-1, 4)
    scores = np.array([score for *_, score, _ in found])
    functions = np.array([each[-1] for each in found], dtype=int)
    fused = fuse_boxes(boxes, scores, functions, np.array([1.0, 2.0, 0.5]), 0.55)
    assert sorted(index for each in fused for index in each.members) == list(range(len(found)))
    for each in fused:
        own = boxes[list(each.members)]
        assert (own.min(axis=0) - 1e-6 <= each.box).all()
        assert (each.box <= own.max(axis=0) + 1e-6).all()
        assert 0 <= each.score <= 1
        assert len(set(functions[list(each.members)])) == len(each.members)
    assert [each.score for each in fused] == sorted((each.score for each in fused), reverse=True)


# --- functions that are made for the labels of a task ---


def by_words(*, task_labels, prompts=None):
    """Finds the first label of the task, with as much confidence as its prompt has letters."""
    words = (prompts or {}).get(task_labels[0].name, "")
    found = rectangle(0, [10, 10, 50, 50], score=0.5 + len(words) / 100)
    return Fixed(found, labels=[label_spec(label.name, number) for number, label in enumerate(task_labels)])


def test_ensemble_of_a_function_for_the_labels_of_a_task_is_made_for_them():
    waiting = ensemble.create({"words": by_words, "fixed": Fixed(rectangle(7, [10, 10, 50, 50], score=0.7))})
    assert isinstance(waiting, FunctionForTask)
    made = waiting.make([TaskLabel("car", "rectangle")])
    assert [label.name for label in made.spec.labels] == ["car"]
    [found] = made.detect(CONTEXT, IMAGE)
    assert found.score == pytest.approx(0.6)
    [found] = waiting.make([TaskLabel("car", "rectangle")], {"car": "a car red"}).detect(CONTEXT, IMAGE)
    assert found.score == pytest.approx((0.59 + 0.7) / 2)


def test_prompts_that_no_function_takes_are_refused():
    def without_words(*, task_labels):
        return Fixed(labels=[label_spec(task_labels[0].name, 0)])

    waiting = ensemble.create({"one": without_words, "two": Fixed()})
    with pytest.raises(FunctionLoadError, match="'ensemble' takes no"):
        waiting.make([TaskLabel("car", "rectangle")], {"car": "a car"})


def test_function_that_reads_shapes_is_refused():
    reading = Fixed()
    reading.reads_existing_shapes = True
    with pytest.raises(BadFunctionError, match="starts from the shapes"):
        ensemble.create({"one": reading, "two": Fixed()})


def test_functions_that_were_loaded_before_serve_all_tasks_and_are_closed_at_the_end():
    made_for_tasks = []

    def without_words(*, task_labels):
        made_for_tasks.append(Closable(labels=[label_spec(label.name, 0) for label in task_labels]))
        return made_for_tasks[-1]

    inner, outer = Closable(), Closable()
    nested = ensemble.create({"words": by_words, "inner": inner})
    waiting = tiled.create(ensemble.create({"nested": nested, "other": without_words, "outer": outer}))
    for label, prompts in [("car", None), ("dog", None), ("dog", {"dog": "a dog"})]:
        waiting.make([TaskLabel(label, "rectangle")], prompts).detect(CONTEXT, IMAGE)
        assert [each.is_closed for each in made_for_tasks[:-1]] == [True] * (len(made_for_tasks) - 1)
        assert not made_for_tasks[-1].is_closed
    assert (inner.is_closed, outer.is_closed) == (False, False)
    waiting.close()
    assert all(each.is_closed for each in (inner, outer, *made_for_tasks))
