"""Metrics equal those of pycocotools."""

import json
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coco_photos import evaluate_by_pycocotools, half_right, nanodet_predictions, read_coco
from prefect_cvat.evaluation import evaluate
from prefect_cvat.evaluation.curves import ScoreCurve
from prefect_cvat.evaluation.inputs.coco_dataset import COCO_SIGMAS
from prefect_cvat.evaluation.matching.overlaps import Overlaps

EXACT = {"abs": 1e-6}


def assert_equal(result, reference, truth):
    assert [result.ap, result.ap50, result.ap75] == pytest.approx(reference.stats[:3].tolist(), **EXACT)
    sizes = [-1 if size.ap is None else size.ap for size in result.by_size.values()]
    assert sizes == pytest.approx(reference.stats[3 : 3 + len(sizes)].tolist(), **EXACT)
    names = {category["id"]: category["name"] for category in truth["categories"]}
    compared = 0
    for place, category in enumerate(reference.params.catIds):
        precision = reference.eval["precision"][:, :, place, 0, -1]
        if (precision > -1).any():
            own = result.by_label[names[category]]
            expected = [precision.mean(), precision[0].mean(), precision[5].mean()]
            assert [own.ap, own.ap50, own.ap75] == pytest.approx(expected, **EXACT)
            for area, size in enumerate(own.by_size.values(), 1):
                of_size = reference.eval["precision"][:, :, place, area, -1]
                expected = of_size.mean() if (of_size > -1).any() else -1
                assert (-1 if size.ap is None else size.ap) == pytest.approx(expected, **EXACT)
            compared += 1
    assert compared == sum(own.ap is not None for own in result.by_label.values())
    everywhere = [found for found in reference.evalImgs if found and found["aRng"] == [0, 1e10]]
    right = sum(((found["dtMatches"][0] > 0) & ~found["dtIgnore"][0]).sum() for found in everywhere)
    assert result.true_positives == right


def test_metrics_of_nanodet_equal_those_of_pycocotools(test_data):
    truth = read_coco(test_data, "instances")
    predictions = nanodet_predictions(test_data, truth, 0.05)
    result = evaluate(truth, predictions)
    assert_equal(result, evaluate_by_pycocotools(truth, predictions, "bbox"), truth)
    assert result.ap == pytest.approx(0.237, abs=0.01)
    assert len(predictions) > 1000


@pytest.mark.parametrize(
    ("name", "iou_type"),
    [
        ("instances", "bbox"),
        ("instances", "segm"),
        ("person_keypoints", "bbox"),
        ("person_keypoints", "keypoints"),
    ],
)
def test_metrics_of_boxes_masks_and_keypoints_equal_those_of_pycocotools(test_data, name, iou_type):
    truth = read_coco(test_data, name)
    predictions = half_right(truth, iou_type)
    before = deepcopy((truth, predictions))
    result = evaluate(truth, predictions, iou_type=iou_type)
    assert 0.05 < result.ap < 0.95
    assert_equal(result, evaluate_by_pycocotools(truth, predictions, iou_type), truth)
    assert (truth, predictions) == before


def test_average_precision_uses_the_best_hundred_predictions_and_recall_uses_all():
    truth = coco([(1, 1, [0, 0, 10, 10])])
    right = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.1}
    wrong = {"image_id": 1, "category_id": 1, "bbox": [50, 50, 10, 10], "score": 0.9}
    result = evaluate(truth, [*[wrong] * 100, right])
    assert result.ap == evaluate_by_pycocotools(truth, [*[wrong] * 100, right], "bbox").stats[0] == 0
    assert (result.recall, result.false_positives) == (1, 100)


boxes = st.tuples(
    st.integers(1, 2), st.integers(1, 2), st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(4, 12)] * 2)
)


@given(
    objects=st.lists(st.tuples(boxes, st.booleans()), min_size=1, max_size=6),
    found=st.lists(st.tuples(boxes, st.sampled_from([0.2, 0.5, 0.5, 0.9])), min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_metrics_of_random_boxes_scores_and_crowds_equal_those_of_pycocotools(objects, found):
    truth = coco([box for box, _ in objects])
    for item, (_, is_crowd) in zip(truth["annotations"], objects, strict=True):
        item["iscrowd"] = int(is_crowd)
    predictions = [
        {"image_id": image, "category_id": category, "bbox": list(box), "score": score}
        for (image, category, box), score in found
    ]
    result = evaluate(truth, predictions)
    reference = evaluate_by_pycocotools(truth, predictions, "bbox")
    if result.ap is None:  # pycocotools' word for that is -1
        assert reference.stats[0] == -1
    else:
        assert_equal(result, reference, truth)


def test_predictions_below_the_score_threshold_are_not_counted():
    truth = coco([(1, 1, [0, 0, 10, 10]), (1, 1, [30, 0, 10, 10]), (2, 2, [0, 0, 10, 10])])
    predictions = [
        result(1, 1, [0, 0, 10, 10], 0.9),
        result(1, 1, [31, 0, 10, 10], 0.6),
        result(1, 1, [70, 0, 10, 10], 0.7),
        result(2, 2, [40, 0, 10, 10], 0.3),
    ]
    everything = evaluate(truth, predictions)
    assert (everything.true_positives, everything.false_positives, everything.false_negatives) == (2, 2, 1)
    assert (everything.precision, everything.recall) == (0.5, pytest.approx(2 / 3))
    strict = evaluate(truth, predictions, score_threshold=0.65)
    assert (strict.true_positives, strict.false_positives, strict.false_negatives) == (1, 1, 2)
    assert strict.by_label["b"].precision is None
    assert strict.ap == everything.ap
    assert everything.by_label["a"].best_threshold == pytest.approx(0.3)  # between 0.6 and nothing
    assert everything.by_label["a"].best_f1 == pytest.approx(0.8)


def test_confusion_matrix_counts_pairs_of_labels():
    truth = coco([(1, 1, [0, 0, 10, 10]), (1, 2, [30, 0, 10, 10]), (1, 1, [60, 0, 10, 10])])
    predictions = [
        result(1, 1, [0, 0, 10, 10], 0.9),
        result(1, 1, [30, 0, 10, 10], 0.8),  # is b
        result(1, 2, [0, 0, 10, 10], 0.7),  # the object has been found already
        result(1, 2, [90, 0, 10, 10], 0.6),
    ]
    confusion = evaluate(truth, predictions).confusion
    assert confusion.labels == ("a", "b")
    assert confusion.counts == ((1, 0, 1), (1, 0, 0), (0, 2, 0))
    strict = evaluate(truth, predictions, score_threshold=0.85).confusion
    assert strict.counts == ((1, 0, 1), (0, 0, 1), (0, 0, 0))


def test_predictions_in_a_crowd_are_ignored():
    truth = coco([(1, 1, [0, 0, 50, 50]), (1, 1, [60, 0, 10, 10])])
    truth["annotations"][0]["iscrowd"] = 1
    predictions = [result(1, 1, [x, 0, 10, 10], 0.5) for x in (0, 20, 60, 90)]
    done = evaluate(truth, predictions)
    assert (done.truth, done.true_positives, done.false_positives) == (1, 1, 1)


def test_segmentations_may_be_polygons_rle_or_missing():
    truth = coco([(1, 1, [0, 0, 10, 10])])
    truth["annotations"][0]["segmentation"] = [[0, 0, 10, 0, 10, 10, 0, 10]]
    counts = [0, *[10, 70] * 10]
    counts[-1] += 80 * 90
    forms = [[[0, 0, 10, 0, 10, 10, 0, 10]], {"size": [80, 100], "counts": counts}]
    for segmentation in forms:
        own = {"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": segmentation}
        assert evaluate(truth, [own], iou_type="segm").ap == 1
    assert evaluate(truth, [result(1, 1, [0, 0, 10, 10], 0.5)], iou_type="segm").ap == 1


def test_keypoints_unknown_to_coco_can_be_compared():
    truth = coco([(1, 1, [0, 0, 40, 40])])
    truth["categories"] = [{"id": 1, "name": "bird", "keypoints": ["beak", "tail"]}]
    truth["annotations"][0] |= {"keypoints": [5, 5, 2, 35, 35, 2], "num_keypoints": 2}
    near = {"image_id": 1, "category_id": 1, "score": 0.5, "keypoints": [6, 5, 1, 35, 34, 1]}
    far = {**near, "keypoints": [35, 35, 1, 5, 5, 1]}
    assert evaluate(truth, [near], iou_type="keypoints").ap > 0.8
    assert evaluate(truth, [far], iou_type="keypoints").ap == 0


def test_keypoint_sigmas_equal_those_of_pycocotools(test_data):
    from pycocotools.cocoeval import Params

    names = read_coco(test_data, "person_keypoints")["categories"][0]["keypoints"]
    assert [COCO_SIGMAS[name] for name in names] == pytest.approx(Params("keypoints").kpt_oks_sigmas)


def test_no_predictions_and_no_ground_truth():
    truth = coco([(1, 1, [0, 0, 10, 10])])
    nothing_found = evaluate(truth, [])
    assert (nothing_found.ap, nothing_found.recall, nothing_found.precision) == (0, 0, None)
    nothing_there = evaluate({**truth, "annotations": []}, [result(1, 1, [0, 0, 10, 10], 0.5)])
    assert (nothing_there.ap, nothing_there.recall, nothing_there.precision) == (None, None, 0)
    assert nothing_there.confusion.counts == ((0, 0), (1, 0))


def test_an_evaluation_is_json():
    truth = coco([(1, 1, [0, 0, 10, 10])])
    said = json.loads(evaluate(truth, [result(1, 1, [0, 0, 10, 10], 0.5)]).model_dump_json())
    assert said["by_label"]["a"]["ap"] == said["ap"] == said["precision"] == 1
    assert "curve" not in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 7}, "prediction 0 is on image 7, which the truth does not have"),
        ({"category_id": 7}, "prediction 0 is of category 7, which the truth does not have"),
        ({"score": float("nan")}, "prediction 0 has the score nan"),
        ({"score": "high"}, "prediction 0 has the score 'high', not a number"),
        ({"bbox": [0, 0, -1, 5]}, r"prediction 0 has the box \[0, 0, -1, 5\]"),
        ({"bbox": [0, 0, 5]}, r"prediction 0 has the box"),
        ({"score": None}, "prediction 0 has no 'score'"),
    ],
)
def test_invalid_predictions_are_named(change, message):
    own = result(1, 1, [0, 0, 10, 10], 0.5) | change
    own = {key: value for key, value in own.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        evaluate(coco([(1, 1, [0, 0, 10, 10])]), [own])


def test_invalid_ground_truth_or_threshold_is_refused():
    truth = coco([(1, 1, [0, 0, 10, 10])])
    with pytest.raises(ValueError, match="it has no 'categories'"):
        evaluate({"images": [], "annotations": []}, [])
    with pytest.raises(ValueError, match="same name"):
        evaluate({**truth, "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, [])
    with pytest.raises(ValueError, match="annotation 0 of the truth has no 'bbox'"):
        evaluate({**truth, "annotations": [{"id": 1, "image_id": 1, "category_id": 1}]}, [])
    with pytest.raises(ValueError, match="annotation 0 of the truth has the area 'big', not a number"):
        evaluate({**truth, "annotations": [truth["annotations"][0] | {"area": "big"}]}, [])
    with pytest.raises(ValueError, match="must be all numbers or all texts"):
        evaluate({**truth, "images": [{"id": 1}, {"id": "two"}]}, [])
    with pytest.raises(ValueError, match="iou_threshold must be above 0"):
        evaluate(truth, [], iou_threshold=0)
    with pytest.raises(ValueError, match="score_threshold must be between 0 and 1"):
        evaluate(truth, [], score_threshold=2)
    with pytest.raises(ValueError, match="iou_type must be"):
        evaluate(truth, [], iou_type="boxes")


@given(
    scores=st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=20),
    threshold=st.integers(0, 10),
)
def test_curve_has_the_counts_of_each_threshold(scores, threshold):
    values = [score / 10 for score, _ in scores]
    right = [is_correct for _, is_correct in scores]
    truth = sum(right) + 2
    counts = ScoreCurve.of(values, right, truth).at(threshold / 10)
    passing = [is_correct for value, is_correct in zip(values, right, strict=True) if value >= threshold / 10]
    assert (counts.true_positives, counts.false_positives) == (sum(passing), len(passing) - sum(passing))


def test_the_threshold_for_a_precision_is_the_lowest_that_reaches_it():
    curve = ScoreCurve.of([0.9, 0.8, 0.6, 0.4, 0.2], [True, False, True, True, False], 4)
    assert curve.threshold_at_precision(0.75) == pytest.approx(0.3)
    assert curve.threshold_at_precision(0.9) == pytest.approx(0.85)
    assert ScoreCurve.of([0.9], [False], 4).threshold_at_precision(0.1) is None
    assert ScoreCurve.of([], [], 4).best_threshold() is None


def test_smoothed_threshold_is_closer_to_the_best_of_the_population():
    def curve_of(objects, seed):
        random = np.random.default_rng(seed)
        scores = np.concatenate([random.beta(3, 3, objects), random.beta(1.2, 6, 6 * objects)])
        return ScoreCurve.of(scores, np.arange(7 * objects) < objects, 2 * objects)

    general = curve_of(100_000, 1)
    samples = [curve_of(100, seed) for seed in range(2, 52)]
    best = np.array([curve.best_threshold() for curve in samples])
    steady = np.array([curve.smoothed_best_threshold() for curve in samples])
    distances = [np.abs(some - general.best_threshold()).mean() for some in (best, steady)]
    assert distances[1] < 0.8 * distances[0]
    f1 = [np.mean([general.at(threshold).f1 for threshold in some]) for some in (best, steady)]
    assert f1[1] > f1[0]


def test_smoothed_threshold_scales_with_the_scores():
    random = np.random.default_rng(0)
    scores = np.concatenate([random.normal(0.6, 0.1, 200), random.normal(0.4, 0.1, 200)])
    curve = ScoreCurve.of(scores, np.arange(400) < 200, 200)
    smaller = ScoreCurve.of(scores / 10, np.arange(400) < 200, 200)
    assert smaller.smoothed_best_threshold() == pytest.approx(
        curve.smoothed_best_threshold() / 10, abs=0.0002
    )


def test_middle_of_equally_good_thresholds_is_chosen():
    curve = ScoreCurve.of([0.9, 0.8, 0.2, 0.1], [True, True, False, False], 2)
    assert curve.smoothed_best_threshold() == pytest.approx(0.5, abs=0.01)
    assert ScoreCurve.of([0.9], [True], 1).smoothed_best_threshold() == pytest.approx(
        0.45
    )  # one score has no spread
    assert ScoreCurve.of([0.9], [False], 1).smoothed_best_threshold() is None
    assert ScoreCurve.of([], [], 4).smoothed_best_threshold() is None


def test_most_similar_object_is_matched_and_only_once():
    similarity = np.array([[0.6, 0.8], [0.9, 0.7], [0.9, 0.9]])
    overlaps = Overlaps(*np.nonzero(similarity), similarity.ravel(), 3, 2)
    nobody = {"is_ignored": np.zeros(2, bool), "is_crowd": np.zeros(2, bool)}
    assert overlaps.match(overlaps.reaching(0.5), **nobody).tolist() == [1, 0, -1]
    assert overlaps.match(overlaps.reaching(0.85), **nobody).tolist() == [-1, 0, 1]


def coco(objects):
    return {
        "images": [{"id": 1, "width": 100, "height": 80}, {"id": 2, "width": 100, "height": 80}],
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "iscrowd": 0}
            | {"bbox": list(box), "area": box[2] * box[3]}
            for i, (image, category, box) in enumerate(objects, 1)
        ],
    }


def result(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}
