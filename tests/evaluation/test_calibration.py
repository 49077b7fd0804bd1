"""The reliability curve: the precision of predictions by their score."""

import io

import numpy as np
import PIL.Image
import pytest

from coco_datasets import dataset, found
from prefect_cvat.evaluation import evaluate
from prefect_cvat.evaluation.calibration import calibrate
from prefect_cvat.evaluation.report.calibration_plot import plot_calibration


def test_bins_have_the_mean_score_and_the_precision_of_their_predictions():
    curve = calibrate(np.array([0.12, 0.18, 0.55, 1.0]), np.array([False, True, True, True]))
    bins = [(each.lowest, each.count, each.mean_score, each.precision) for each in curve.bins]
    assert bins == [
        (0.1, 2, pytest.approx(0.15), 0.5),
        (0.5, 1, pytest.approx(0.55), 1.0),
        (0.9, 1, 1.0, 1.0),
    ]
    assert curve.bins[-1].highest == 1
    assert curve.expected_error == pytest.approx((2 * 0.35 + 0.45 + 0.0) / 4)


def test_scores_that_are_probabilities_have_a_small_error():
    random = np.random.default_rng(0)
    scores = random.random(20_000)
    is_correct = random.random(20_000) < scores
    assert calibrate(scores, is_correct).expected_error < 0.02
    assert calibrate(scores, random.random(20_000) < scores**2).expected_error > 0.1


def test_scores_that_are_no_probabilities_have_no_curve():
    box = (0, 0, 10, 10)
    result = evaluate(dataset((1, 1, box)), [found(1, 1, box, 7.5)])
    assert (result.calibration, result.calibration_error) == (None, None)
    assert result.ap == 1
    assert evaluate(dataset((1, 1, box)), []).calibration is None


def test_predictions_without_scores_count_as_certain():
    box = (0, 0, 10, 10)
    result = evaluate(dataset((1, 1, box)), [found(1, 1, box, 1.0), found(2, 1, box, 1.0)])
    assert result.calibration_error == pytest.approx(0.5)
    assert result.by_label["a"].calibration_error == pytest.approx(0.5)


def test_plot_shows_each_curve():
    curves = {
        f"{name} $x_1$": calibrate(np.linspace(0, 1, 50), np.arange(50) % 3 < bound)
        for name, bound in (("first", 1), ("second", 2))
    }
    one, two = (np.asarray(PIL.Image.open(io.BytesIO(plot_calibration(some)))) for some in (
        {"first $x_1$": curves["first $x_1$"]}, curves))  # fmt: skip
    assert one.shape == two.shape
    assert (one != two).any()
