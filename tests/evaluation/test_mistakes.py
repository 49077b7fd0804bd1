"""Mistakes by kind, as TIDE defines them, on hand-made cases.

`tidecv` 1.0.1 finds the same numbers and the same changes of average precision on random data sets.
"""

import pytest

from coco_datasets import dataset, found
from prefect_cvat.evaluation import evaluate

BOX = (0, 0, 10, 10)
NEAR = (0, 0, 10, 30)
"""IoU 1/3 with BOX."""
FAR = (200, 200, 10, 10)


def counts(result):
    return {name: kind.count for name, kind in result.mistakes.kinds.items() if kind.count}


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        ([found(1, 1, BOX, 0.9)], {}),
        ([found(1, 2, BOX, 0.9)], {"classification": 1}),
        ([found(1, 1, NEAR, 0.9)], {"localization": 1}),
        ([found(1, 2, NEAR, 0.9)], {"both": 1, "missed": 1}),
        ([found(1, 1, BOX, 0.9), found(1, 1, BOX, 0.8)], {"duplicate": 1}),
        ([found(1, 1, FAR, 0.9)], {"background": 1, "missed": 1}),
        ([found(2, 1, BOX, 0.9)], {"background": 1, "missed": 1}),
        ([], {"missed": 1}),
        # the place of the same label counts before the label of another one
        ([found(1, 1, BOX, 0.9), found(1, 1, NEAR, 0.8)], {"localization": 1}),
        # two that would both find the object: it is missed by none
        ([found(1, 1, NEAR, 0.9), found(1, 2, BOX, 0.8)], {"localization": 1, "classification": 1}),
    ],
    ids=[
        "right", "classification", "localization", "both", "duplicate", "background", "other image", "missed",
        "localization of a found object", "two for one object",
    ],
)  # fmt: skip
def test_kind_of_a_mistake(predictions, expected):
    result = evaluate(dataset((1, 1, BOX)), predictions)
    assert counts(result) == expected
    false_positives = sum(number for name, number in expected.items() if name != "missed")
    assert result.mistakes.false_positives.count == false_positives
    assert result.mistakes.false_negatives.count == result.false_negatives


def test_mending_a_kind_raises_average_precision_to_what_it_would_be():
    truth = dataset((1, 1, BOX), (1, 1, (100, 0, 10, 10)), (1, 1, (200, 0, 10, 10)), (1, 1, (300, 0, 10, 10)))
    right = found(1, 1, BOX, 0.9)
    misplaced = found(1, 1, (100, 0, 10, 30), 0.8)
    mislabeled = found(1, 2, (200, 0, 10, 10), 0.7)
    mended = {
        "localization": [right, found(1, 1, (100, 0, 10, 10), 0.8), mislabeled],
        "classification": [right, misplaced, found(1, 1, (200, 0, 10, 10), 0.7)],
    }
    before = evaluate(truth, [right, misplaced, mislabeled])
    assert before.mistakes.ap == pytest.approx(before.ap50)
    for kind, predictions in mended.items():
        gain = evaluate(truth, predictions).ap50 - before.ap50
        assert before.mistakes.kinds[kind].ap_gain == pytest.approx(gain)
        assert gain > 0.1
    without_missed = evaluate(
        {**truth, "annotations": truth["annotations"][:3]}, [right, misplaced, mislabeled]
    )
    gain = without_missed.ap50 - before.ap50
    assert before.mistakes.kinds["missed"].ap_gain == pytest.approx(gain)


def test_removing_false_positives_raises_average_precision():
    truth = dataset((1, 1, BOX))
    background = found(1, 1, FAR, 0.95)
    result = evaluate(truth, [background, found(1, 1, BOX, 0.9)])
    assert result.mistakes.ap == pytest.approx(0.5)
    assert result.mistakes.kinds["background"].ap_gain == pytest.approx(0.5)
    assert result.mistakes.false_positives.ap_gain == pytest.approx(0.5)
    assert result.mistakes.false_negatives.ap_gain == 0


def test_only_the_highest_score_is_mended_and_others_for_the_object_are_removed():
    truth = dataset((1, 1, BOX), (2, 1, BOX))
    twice = [found(1, 1, NEAR, 0.9), found(1, 1, (0, 0, 30, 10), 0.8)]
    result = evaluate(truth, [*twice, found(2, 1, BOX, 0.5)])
    assert counts(result) == {"localization": 2}
    assert result.mistakes.ap + result.mistakes.kinds["localization"].ap_gain == pytest.approx(1)


def test_predictions_below_the_score_threshold_make_no_mistakes():
    truth = dataset((1, 1, BOX))
    predictions = [found(1, 1, BOX, 0.9), found(1, 1, FAR, 0.2)]
    assert counts(evaluate(truth, predictions)) == {"background": 1}
    assert counts(evaluate(truth, predictions, score_threshold=0.5)) == {}
    assert counts(evaluate(truth, predictions, score_threshold=0.95)) == {"missed": 1}


def test_mistakes_are_counted_by_the_label_of_the_prediction_and_of_the_missed_object():
    truth = dataset((1, 1, BOX), (2, 2, BOX))
    result = evaluate(truth, [found(1, 2, BOX, 0.9)])
    by_label = {
        name: {kind: number for kind, number in kinds.items() if number}
        for name, kinds in result.mistakes.by_label.items()
    }
    assert by_label == {"b": {"classification": 1, "missed": 1}}


def test_predictions_in_a_crowd_are_no_mistakes():
    truth = dataset((1, 1, (0, 0, 50, 50)), (1, 1, FAR))
    truth["annotations"][0]["iscrowd"] = 1
    result = evaluate(truth, [found(1, 1, BOX, 0.9), found(1, 2, BOX, 0.8)])
    assert counts(result) == {"background": 1, "missed": 1}


def test_without_objects_there_is_no_average_precision_to_gain():
    result = evaluate(dataset(), [found(1, 1, BOX, 0.9)])
    assert counts(result) == {"background": 1}
    assert result.mistakes.ap is None
    assert result.mistakes.kinds["background"].ap_gain is None


def test_keypoints_of_other_labels_are_not_confused():
    truth = dataset((1, 1, (0, 0, 40, 40)))
    truth["categories"] = [{"id": n, "name": name, "keypoints": ["x"]} for n, name in ((1, "a"), (2, "b"))]
    truth["annotations"][0] |= {"keypoints": [5, 5, 2], "num_keypoints": 1}
    other = {"image_id": 1, "category_id": 2, "score": 0.5, "keypoints": [5, 5, 2]}
    assert counts(evaluate(truth, [other], iou_type="keypoints")) == {"background": 1, "missed": 1}
    moved = other | {"category_id": 1, "keypoints": [11, 11, 2]}
    assert counts(evaluate(truth, [moved], iou_type="keypoints")) == {"localization": 1}
