"""Confidence thresholds of single labels."""

import re
from types import SimpleNamespace

import pytest

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.auto_annotation.functions import nanodet_detection, tiled
from prefect_cvat.planning.confidence_thresholds import score_thresholds
from prefect_cvat.planning.label_mapping import LabelMapping, LabelTarget

LABELS = [label_spec("car", 7), label_spec("person", 8), label_spec("boat", 9)]


def mapping(dropped=("boat",)):
    return LabelMapping(
        targets={
            label.id: None
            if label.name in dropped
            else LabelTarget(label.id, label.name, "any", {}, {}, frozenset())
            for label in LABELS
        },
        names={label.id: label.name for label in LABELS},
    )


def function(labels=LABELS, **fields):
    return SimpleNamespace(spec=DetectionFunctionSpec(labels=labels), **fields)


@pytest.mark.parametrize(
    ("own", "conf", "by_label", "asked", "kept"),
    [
        (0.5, None, {}, None, {"car": 0.0, "person": 0.0}),
        (0.5, 0.3, {}, 0.3, {"car": 0.3, "person": 0.3}),
        # below all others: asked for, and cut for the others
        (0.5, None, {"car": 0.2}, 0.2, {"car": 0.2, "person": 0.5}),
        (0.5, 0.3, {"car": 0.2}, 0.2, {"car": 0.2, "person": 0.3}),
        (None, 0.3, {"car": 0.2}, 0.2, {"car": 0.2, "person": 0.3}),
        # above: the function gets the same threshold, so its detections are cached
        (0.5, None, {"car": 0.7}, None, {"car": 0.7, "person": 0.5}),
        (0.5, 0.3, {"car": 0.7, "person": 0.6}, 0.3, {"car": 0.7, "person": 0.6}),
        # a function without a threshold
        (None, None, {"car": 0.2}, None, {"car": 0.2, "person": 0.0}),
        (None, None, {"car": 0.2, "person": 0.4}, 0.2, {"car": 0.2, "person": 0.4}),
        # a label that is dropped does not matter
        (0.5, None, {"boat": 0.1}, None, {"car": 0.0, "person": 0.0}),
    ],
)
def test_function_gets_the_lowest_threshold_of_all_labels(own, conf, by_label, asked, kept):
    chosen = function() if own is None else function(score_threshold=own)
    found = score_thresholds(chosen, mapping(), conf_threshold=conf, label_thresholds=by_label)
    assert found.requested == asked
    assert {"car": found.by_label[7], "person": found.by_label[8]} == kept


@pytest.mark.parametrize("threshold", [True, False, "0.5", None, [0.5], float("nan"), -0.1, 1.1], ids=repr)
def test_invalid_threshold_is_refused(threshold):
    message = r"label_thresholds: that of label 'car' must be a number between 0 and 1, not " + re.escape(
        repr(threshold)
    )
    with pytest.raises(ValueError, match=message):
        score_thresholds(function(), mapping(), label_thresholds={"car": threshold})


def test_threshold_for_functions_with_tags_is_unchanged():
    labels = [label_spec("car", 7, type="tag"), *LABELS[1:]]
    found = score_thresholds(function(labels, score_threshold=0.5), mapping(), label_thresholds={"car": 0.1})
    assert found.requested is None


def test_tiled_function_has_the_threshold_of_its_function():
    assert tiled.create("nanodet_detection", score_threshold=0.3).score_threshold == 0.3
    assert nanodet_detection.create().score_threshold == 0.4


def test_lower_threshold_of_a_label_adds_detections_of_this_label_only(client, make_task):
    task_id = make_task(1)
    scores = (0.1, 0.3, 0.6)
    asked = []

    def detect(context, _image):
        asked.append(context.conf_threshold)
        least = 0.5 if context.conf_threshold is None else context.conf_threshold
        return [
            rectangle(label, [1, 2, 3, 4 + 9 * score], score=score)
            for label in (7, 8)
            for score in scores
            if score >= least
        ]

    chosen = function(LABELS[:2], score_threshold=0.5, detect=detect, version="1")
    before = annotate_task(client, task_id, chosen)
    assert before.labels == {"car": 1, "person": 1}
    lower = annotate_task(client, task_id, chosen, label_thresholds={"car": 0.2})
    assert lower.labels == {"car": 2, "person": 1}
    assert (lower.below_threshold, lower.added, lower.already_there) == (1, 1, 2)
    assert asked == [None, 0.2]  # detections of the first run are not valid for the second
    again = annotate_task(client, task_id, chosen, label_thresholds={"car": 0.25, "person": 0.2})
    assert again.labels == {"car": 2, "person": 2}
    assert asked == [None, 0.2]
    assert again.frames_from_cache == 1
