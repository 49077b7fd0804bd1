"""What follows from corrections: thresholds and a label map."""

from datetime import UTC, datetime

import pytest

from prefect_cvat.review.conclusions import conclude as conclude_of_version
from prefect_cvat.review.conclusions import latest_version
from prefect_cvat.review.learned import Confusion, TaskEvidence


def rows(label, counts):
    """Shapes of a label: right and all, by score in hundredths."""
    return [(label, score, -6, False, 0, right, total) for score, (right, total) in counts.items()]


def evidence(hour=0, **fields):
    """Evidence of a run at this hour, from which was learned at midnight before."""
    times = {
        "started": datetime(2026, 11, 28, hour, tzinfo=UTC),
        "learned": datetime(2026, 11, 28, tzinfo=UTC),
    }
    return TaskEvidence(**times, **fields)


def conclude(tasks):
    tasks = {task: each if isinstance(each, list) else [each] for task, each in tasks.items()}
    return conclude_of_version(tasks, latest_version(tasks))


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
    bad = evidence(shapes=rows("car", {60: (0, 200)}), frames=10, missed={"car": 40}, version="1")
    good = evidence(1, shapes=rows("car", {60: (190, 200)}), frames=10, version="2")
    found = conclude({1: bad, 2: good})
    assert found.calibration.of_labels({1: "car"}).at_typical_size(1, 0.6) > 0.8
    assert found.missed_per_frame < 0.5
    assert (found.shapes, found.right, found.missed) == (400, 190, 40)
    same = good.model_copy(update={"version": "1"})
    assert conclude({1: bad, 2: same}).calibration.of_labels({1: "car"}).at_typical_size(1, 0.6) < 0.6


def trucks(count, changed, **fields):
    """Trucks of which people have changed some to cars, and left the others."""
    return evidence(
        shapes=rows("truck", {80: (count - changed, count)}),
        confusions=[Confusion(written="truck", corrected="car", count=changed)] if changed else [],
        **{"labels": {"truck": "truck", "auto": "car"}, **fields},
    )


def test_label_map_of_an_earlier_version_counts_a_tenth():
    first, second = trucks(100, 90, version="1"), trucks(70, 0, version="2", hour=1)
    assert conclude({1: first}).label_map == {"truck": "car"}
    assert conclude({1: first, 2: second}).label_map == {}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_current_version_is_that_of_the_latest_run_also_within_a_task(order):
    first, second = trucks(100, 90, version="2"), trucks(70, 0, version="1", hour=1)
    both = [(first, second)[place] for place in order]
    assert conclude({1: both}).version == "1"
    assert conclude(dict(enumerate(both))).version == "1"
    assert conclude({1: both}).label_map == {}


def test_another_version_gets_no_thresholds_and_no_label_map():
    of_first = trucks(200, 190, version="1")
    assert conclude({1: of_first}).thresholds
    found = conclude_of_version({1: [of_first]}, "2")
    assert (found.thresholds, found.label_map, found.is_of_version) == ({}, {}, False)
    assert "thresholds and a label map are not used" in found.summary("project 7")
    same = conclude_of_version({1: [of_first]}, "1").calibration.of_labels({1: "truck"})
    other = found.calibration.of_labels({1: "truck"})
    assert same.at_typical_size(1, 0.8) < other.at_typical_size(1, 0.8) < 0.8


@pytest.mark.parametrize(
    ("right", "back", "expected"),
    [(30, 0, {"truck": "car"}), (2, 0, {"truck": "car"}), (0, 0, {"truck": "car"}), (27, 3, {"truck": "car"}),
     (27, 10, {"truck": "car"}), (10, 10, {}), (3, 27, {})],
)  # fmt: skip
def test_label_map_that_is_in_use_stays_until_people_change_it_back(right, back, expected):
    used = evidence(
        shapes=rows("car", {80: (right, right + back)}),
        confusions=[Confusion(written="car", corrected="truck", count=back)] if back else [],
        labels={"truck": "car"},
        learned_labels={"truck": "car"},
    )
    assert conclude({1: used}).label_map == expected
    mixed = used.model_copy(update={"labels": {"truck": "car", "auto": "car"}})
    assert conclude({1: mixed}).label_map == ({"truck": "car"} if back < 5 else {})


def test_label_map_in_use_is_forgotten_if_the_label_was_right_later():
    used = evidence(labels={"truck": "car"}, learned_labels={"truck": "car"})
    assert conclude({1: used, 2: trucks(30, 0, hour=1)}).label_map == {}
