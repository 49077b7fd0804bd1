"""What follows from corrections: thresholds and a label map."""

from datetime import UTC, datetime

import pytest

from prefect_cvat.learning.conclusions import conclude
from prefect_cvat.review.learned import Confusion, TaskEvidence


def rows(label, counts):
    """Shapes of a label: right and all, by score in hundredths."""
    return [(label, score, -6, False, 0, right, total) for score, (right, total) in counts.items()]


def evidence(hour=0, **fields):
    return TaskEvidence(learned=datetime(2026, 11, 28, hour, tzinfo=UTC), **fields)


def learn(**fields):
    return conclude({1: evidence(**{"frames": 10, **fields})})


def f1(counts, missed, threshold):
    """F1 of a threshold in hundredths on the same shapes."""
    kept = [pair for score, pair in counts.items() if score >= threshold]
    right, written = sum(r for r, _ in kept), sum(n for _, n in kept)
    return 2 * right / (written + missed + sum(r for r, _ in counts.values()))


def test_threshold_is_near_the_best_f1():
    counts = {score: (round(40 * (score / 100) ** 3), 40) for score in range(30, 100, 5)}
    found = learn(shapes=rows("car", counts), missed={"car": 5})
    best = max(f1(counts, 5, threshold) for threshold in counts)
    assert f1(counts, 5, 100 * found.thresholds["car"]) > best - 0.02
    assert 0.45 < found.thresholds["car"] < 0.8


def test_threshold_is_not_below_the_lowest_score():
    found = learn(shapes=rows("car", {60: (39, 40), 80: (40, 40)}), missed={"car": 40})
    assert found.thresholds["car"] == 0.6


def test_labels_with_few_shapes_get_no_threshold():
    found = learn(shapes=[*rows("car", {60: (5, 19)}), *rows("dog", {60: (5, 20)})])
    assert list(found.thresholds) == ["dog"]


def test_thresholds_are_by_label_of_the_function():
    labels = {"auto": "car", "truck": "car", "plant": None}
    found = learn(shapes=rows("car", {60: (20, 40)}), labels=labels)
    assert set(found.thresholds) == {"auto", "truck"}


@pytest.mark.parametrize(
    ("count", "others", "expected"),
    [(14, 6, {"truck": "car"}), (4, 0, {}), (10, 10, {}), (11, 9, {"truck": "car"})],
    ids=["most", "too few", "half", "just over half"],
)
def test_label_is_mapped_if_people_mostly_change_it(count, others, expected):
    found = learn(
        shapes=rows("truck", {80: (others, count + others)}),
        confusions=[Confusion(written="truck", corrected="car", count=count)],
        labels={"truck": "truck", "auto": "car"},
    )
    assert found.label_map == expected


def test_label_that_several_labels_of_the_function_are_mapped_to_is_not_mapped():
    found = learn(
        shapes=rows("truck", {80: (0, 20)}),
        confusions=[Confusion(written="truck", corrected="car", count=20)],
        labels={"truck": "truck", "bus": "truck"},
    )
    assert found.label_map == {}
    assert found.confusions == [Confusion(written="truck", corrected="car", count=20)]


def test_people_who_disagree_about_a_label_map_nothing():
    of_one = evidence(
        shapes=rows("truck", {80: (0, 20)}),
        confusions=[Confusion(written="truck", corrected="car", count=20)],
        labels={"truck": "truck"},
    )
    of_other = evidence(shapes=rows("truck", {80: (25, 25)}), labels={"truck": "truck"})
    assert conclude({1: of_one}).label_map == {"truck": "car"}
    assert conclude({1: of_one, 2: of_other}).label_map == {}


def test_tasks_add_up():
    one = evidence(shapes=rows("car", {60: (5, 20)}), frames=4, missed={"car": 3})
    found = conclude({7: one, 3: one})
    assert (found.shapes, found.right, found.frames, found.missed, found.tasks) == (40, 10, 8, 6, [3, 7])
    assert found.missed_per_frame == pytest.approx((6 + 0.5) / (8 + 2))


def test_nothing_corrected_gives_the_prior():
    found = conclude({1: evidence()})
    assert (found.thresholds, found.label_map, found.shapes) == ({}, {}, 0)
    assert found.calibration.score == 1


def test_earlier_versions_of_the_function_count_a_tenth():
    bad = evidence(shapes=rows("car", {60: (0, 200)}), frames=10, missed={"car": 40}, function_version="1")
    good = evidence(1, shapes=rows("car", {60: (190, 200)}), frames=10, function_version="2")
    found = conclude({1: bad, 2: good})
    assert found.calibration.of_labels({1: "car"}).at_typical_size(1, 0.6) > 0.8
    assert found.missed_per_frame < 0.5
    assert (found.shapes, found.right, found.missed) == (400, 190, 40)
    same = good.model_copy(update={"function_version": "1"})
    assert conclude({1: bad, 2: same}).calibration.of_labels({1: "car"}).at_typical_size(1, 0.6) < 0.6
