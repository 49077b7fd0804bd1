"""The probability that a shape is right, learned from what people have corrected."""

import random

import pytest

from prefect_cvat.review.calibration import Calibration, fit_calibration
from prefect_cvat.review.evidence import Evidence, group_of, is_at_edge


def evidence(count, is_right, *, label="car", seed=1):
    """Shapes with random scores; `is_right` says how probable it is that one with a score is right."""
    rng = random.Random(seed)
    found = Evidence()
    for _ in range(count):
        score = rng.uniform(0.3, 1.0)
        found.add(group_of(label, score, 0.02, False, 0.0), rng.random() < is_right(score))
    return found


def probability(calibration, score, label="car"):
    return calibration.of_labels({1: label}).at_typical_size(1, score)


@pytest.mark.parametrize("score", [0.05, 0.3, 0.5, 0.9])
def test_without_corrections_the_probability_is_the_score(score):
    assert probability(fit_calibration(Evidence()), score) == pytest.approx(score)


def test_overlap_with_a_better_shape_lowers_the_probability():
    judge = Calibration().of_labels({}).on_image(100, 100)
    assert judge(1, 0.8, (40, 40, 54, 54), 0.9) < judge(1, 0.8, (40, 40, 54, 54), 0.0) == pytest.approx(0.8)


@pytest.mark.parametrize(
    "truth", [lambda score: score**2, lambda score: min(1.0, 0.4 + 0.6 * score)], ids=["too high", "too low"]
)
def test_many_corrections_correct_scores(truth):
    found = fit_calibration(evidence(4000, truth))
    for score in (0.4, 0.6, 0.8, 0.95):
        assert probability(found, score) == pytest.approx(truth(score), abs=0.06)


def test_few_corrections_move_it_a_little():
    few = Evidence([("car", 60, -6, False, 0, 0, 3)])
    many = Evidence([("car", 60, -6, False, 0, 0, 300)])
    assert 0.25 < probability(fit_calibration(few), 0.6) < 0.55
    assert probability(fit_calibration(many), 0.6) < 0.1


def test_labels_differ_and_unknown_labels_are_judged_as_the_others_together():
    both = evidence(800, lambda _: 0.9)
    both.merge(evidence(800, lambda _: 0.2, label="dog", seed=2))
    found = fit_calibration(both)
    car, dog, unknown = (probability(found, 0.6, label) for label in ("car", "dog", "cat"))
    assert dog < 0.35 < 0.75 < car
    assert dog < unknown < car


def test_size_and_edge_of_the_image_count():
    rng = random.Random(5)
    found = Evidence()
    for _ in range(1500):
        small, edge = rng.random() < 0.5, rng.random() < 0.5
        right = rng.random() < (0.2 if small else 0.9) - 0.1 * edge
        found.add(group_of("car", 0.7, 0.0005 if small else 0.2, edge, 0.0), right)
    judge = fit_calibration(found).of_labels({1: "car"}).on_image(1000, 1000)
    small, large = (400, 400, 422, 422), (100, 100, 547, 547)
    assert judge(1, 0.7, small, 0.0) < 0.4 < 0.8 < judge(1, 0.7, large, 0.0)
    assert judge(1, 0.7, (0, 100, 447, 547), 0.0) < judge(1, 0.7, large, 0.0)


@pytest.mark.parametrize("right", [0, 1], ids=["all wrong", "all right"])
def test_corrections_that_agree_completely(right):
    found = fit_calibration(
        Evidence([("car", score, -6, False, 0, 50 * right, 50) for score in (40, 60, 90)])
    )
    assert 0 < probability(found, 0.5) < 1
    assert (probability(found, 0.5) > 0.8) == bool(right)


def test_corrections_that_disagree_give_a_half():
    first = Evidence([("car", 90, -6, False, 0, 100, 100)])
    first.merge(Evidence([("car", 90, -6, False, 0, 0, 100)]))
    assert probability(fit_calibration(first), 0.9) == pytest.approx(0.5, abs=0.05)


def test_score_of_a_probability_is_the_inverse():
    found = fit_calibration(evidence(2000, lambda score: score**2))
    for share in (0.2, 0.5, 0.8):
        assert probability(found, found.score_at(share, "car")) == pytest.approx(share)


def test_evidence_does_not_grow_with_the_number_of_shapes():
    found = evidence(20_000, lambda score: score)
    assert found.total == 20_000
    assert len(found.rows()) <= 71
    assert Evidence(found.rows()).rows() == found.rows()


def test_a_thousand_labels_are_fitted():
    found = Evidence([(f"label {n}", 50 + n % 50, -6, False, 0, n % 3, 3) for n in range(1200)])
    assert len(fit_calibration(found).labels) == 1200


@pytest.mark.parametrize(
    ("box", "expected"),
    [((50, 50, 60, 60), False), ((1, 50, 60, 60), True), ((50, 50, 60, 99), True)],
)
def test_edge_is_two_percent_of_the_image(box, expected):
    assert is_at_edge(box, 100, 100) is expected


def test_the_typical_size_is_that_of_the_shapes_that_were_looked_at():
    tiny = Evidence()
    for number in range(2000):
        tiny.add(group_of("car", 0.3 + 0.6 * (number % 97) / 97, 2.0**-19, False, 0.0), number % 1000 > 0)
    found = fit_calibration(tiny)
    assert found.typical_area == pytest.approx(2.0**-19)
    for score in (0.3, 0.5, 0.9):
        assert found.of_labels({}).at_typical_size(0, score) > 0.95


def test_boxes_that_are_larger_than_the_image_are_learned_from():
    found = Evidence()
    for number in range(30):
        found.add(group_of("car", 0.7, 1.6, True, 0.0), number % 2 > 0)
    assert fit_calibration(found).typical_area == 1.0
