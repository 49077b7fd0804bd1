"""Plots how the scores of a run are distributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefect_cvat.rendering.figures import new_figure, png_of, short_label, show_as_plain_text
from prefect_cvat.review.score_histogram import SCORE_BINS

if TYPE_CHECKING:
    from matplotlib.artist import Artist

__all__ = ["plot_scores"]

SIZE = 6.4, 3.2
"""Width and height in inches."""

DPI = 100

MAX_LABELS = 7
"""Maximum number of labels with their own color. All others share one."""


def plot_scores(scores: Mapping[str, Sequence[int]]) -> bytes:
    """Plot a histogram of scores, with a stacked bar for each bin.

    Args:
        scores: The number of scores in each bin from 0 to 1, by label, as in `RunReport.scores`.

    Returns:
        A PNG of 640x320 pixels.
    """
    from matplotlib.ticker import MaxNLocator  # slow to import

    figure, axes = new_figure(*SIZE, DPI)
    edges = [number / SCORE_BINS for number in range(SCORE_BINS)]
    bottom = [0] * SCORE_BINS
    names: list[str] = []
    handles: list[Artist] = []
    for name, counts in _most_first(scores):
        bars = axes.bar(
            edges,
            counts,
            width=1 / SCORE_BINS,
            bottom=bottom,
            align="edge",
            color="#999" if len(names) == MAX_LABELS else f"C{len(names)}",
            edgecolor="white",
            linewidth=0.5,
        )
        bottom = [below + count for below, count in zip(bottom, counts, strict=True)]
        names.append(name)
        handles.append(bars.patches[0])
    axes.set_xlim(0, 1)
    axes.set_xlabel("score")
    axes.set_ylabel("annotations")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    legend = figure.legend(handles, ["-"] * len(names), loc="outside right upper", frameon=False)
    show_as_plain_text(legend)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(short_label(name))
    return png_of(figure)


def _most_first(scores: Mapping[str, Sequence[int]]) -> list[tuple[str, Sequence[int]]]:
    """The labels with most scores, each with its counts; all others together are the last one."""
    labels = sorted(scores.items(), key=lambda item: (-sum(item[1]), item[0]))
    if len(labels) <= MAX_LABELS:
        return labels
    others = [sum(counts) for counts in zip(*(counts for _, counts in labels[MAX_LABELS:]), strict=True)]
    return [*labels[:MAX_LABELS], (f"{len(labels) - MAX_LABELS} others", others)]
