"""The figures of an evaluation as pictures."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np

from prefect_cvat.evaluation.curves import ScoreCurve
from prefect_cvat.evaluation.metrics import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_confusion", "plot_precision_recall", "plot_thresholds"]

DPI = 110
MOST_CURVES = 8
"""How many labels have a curve of their own: those with most objects."""

MOST_CONFUSED = 20
"""How many labels the picture of confusions has: those with most objects; all others are one."""


def plot_precision_recall(evaluation: Evaluation) -> bytes:
    """Draw precision over recall, of all labels together and of those with most objects.

    Returns:
        A PNG.
    """
    figure, axes = _new_figure(6.4, 4.2)
    by_label = sorted(evaluation.by_label.items(), key=lambda item: (-item[1].truth, item[0]))
    for name, measured in by_label[:MOST_CURVES] if len(by_label) > 1 else ():
        if measured.truth:
            axes.plot(measured.curve.recall, measured.curve.precision, linewidth=1.2, label=_short(name))
    axes.plot(evaluation.curve.recall, evaluation.curve.precision, "k", linewidth=2.2, label="all labels")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    _legend(figure)
    return _png(figure)


def plot_thresholds(evaluation: Evaluation) -> bytes:
    """Draw precision, recall and F1 of all labels together over the score threshold.

    Returns:
        A PNG.
    """
    figure, axes = _new_figure(6.4, 4.2)
    curve = evaluation.curve
    for name, values in (("precision", curve.precision), ("recall", curve.recall), ("F1", curve.f1)):
        axes.step(*_from_right(curve, values), where="pre", label=name)
    if evaluation.best_threshold is not None:
        axes.axvline(evaluation.best_threshold, color="k", linestyle=":", linewidth=1, label="best F1")
    if evaluation.score_threshold:
        axes.axvline(
            evaluation.score_threshold, color="k", linestyle="--", linewidth=1, label="the threshold"
        )
    axes.set(xlabel="score threshold", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.grid(alpha=0.3)
    _legend(figure)
    return _png(figure)


def plot_confusion(evaluation: Evaluation) -> bytes:
    """Draw what was taken for what: rows are the truth, columns are what was predicted.

    Returns:
        A PNG.
    """
    counts, names = _most_frequent(evaluation)
    inches = 2.6 + 0.36 * len(names)
    figure, axes = _new_figure(inches, inches - 0.6)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column,
            row,
            f"{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if shares[row, column] > 0.5 else "black",
        )
    places = range(len(names) + 1)
    axes.set_xticks(places, [*names, "(missed)"], rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(places, [*names, "(nothing)"], fontsize=8, parse_math=False)
    axes.set(xlabel="predicted", ylabel="truth")
    return _png(figure)


def _most_frequent(evaluation: Evaluation) -> tuple[np.ndarray, list[str]]:
    """The confusions of the labels with most objects; the others are put together."""
    counts = np.array(evaluation.confusion.counts)
    labels = list(evaluation.confusion.labels)
    if len(labels) <= MOST_CONFUSED:
        return counts, [_short(name) for name in labels]
    order = np.argsort(-(counts[:-1].sum(axis=1)), kind="stable")
    kept, others = order[: MOST_CONFUSED - 1], order[MOST_CONFUSED - 1 :]
    groups = [*([place] for place in kept), list(others), [len(labels)]]
    merged = np.array([[counts[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])
    return merged, [*(_short(labels[place]) for place in kept), f"{len(others)} others"]


def _from_right(curve: ScoreCurve, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and values in ascending order, from 0 on: below the least score nothing changes."""
    scores, ascending = curve.scores[::-1], values[::-1]
    return np.append(0.0, scores), np.append(ascending[:1] if scores.size else 0.0, ascending)


def _new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure  # slow to import; no pyplot: that is not for several threads

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def _legend(figure: Figure) -> None:
    legend = figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with dollar signs is no formula


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of names in scripts that the font has not
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
