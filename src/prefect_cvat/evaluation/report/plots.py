"""Plots of an evaluation: precision-recall curve, score thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from prefect_cvat.evaluation.curves import ScoreCurve
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.rendering.figures import new_figure, png_of, short_label, show_as_plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_precision_recall", "plot_thresholds"]

DPI = 110
MAX_CURVES = 8
"""Maximum number of labels with a curve of their own: those with most objects."""


def plot_precision_recall(evaluation: Evaluation) -> bytes:
    """Plot the precision-recall curves of all labels together and of the labels with most objects.

    Returns:
        A PNG.
    """
    figure, axes = new_figure(6.4, 4.2, DPI)
    by_label = sorted(evaluation.by_label.items(), key=lambda item: (-item[1].truth, item[0]))
    for name, measured in by_label[:MAX_CURVES] if len(by_label) > 1 else ():
        if measured.truth:
            axes.plot(measured.curve.recall, measured.curve.precision, linewidth=1.2, label=short_label(name))
    axes.plot(evaluation.curve.recall, evaluation.curve.precision, "k", linewidth=2.2, label="all labels")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    _add_legend(figure)
    return png_of(figure)


def plot_thresholds(evaluation: Evaluation) -> bytes:
    """Plot precision, recall and F1 of all labels together by score threshold.

    Returns:
        A PNG.
    """
    figure, axes = new_figure(6.4, 4.2, DPI)
    curve = evaluation.curve
    for name, values in (("precision", curve.precision), ("recall", curve.recall), ("F1", curve.f1)):
        axes.step(*_from_right(curve, values), where="pre", label=name)
    if evaluation.best_threshold is not None:
        axes.axvline(evaluation.best_threshold, color="k", linestyle=":", linewidth=1, label="best F1")
    if evaluation.score_threshold:
        axes.axvline(
            evaluation.score_threshold, color="k", linestyle="--", linewidth=1, label="score threshold"
        )
    axes.set(xlabel="score threshold", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    _add_legend(figure)
    return png_of(figure)


def _from_right(curve: ScoreCurve, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and values in ascending order, beginning at 0: below the lowest score, values are constant."""
    scores, ascending = curve.scores[::-1], values[::-1]
    return np.append(0.0, scores), np.append(ascending[:1] if scores.size else 0.0, ascending)


def _add_legend(figure: Figure) -> None:
    show_as_plain_text(figure.legend(loc="outside right upper", frameon=False, fontsize=8))
