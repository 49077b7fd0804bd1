"""Figures of a run as pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from prefect_cvat.review.score_histogram import SCORE_BINS

if TYPE_CHECKING:
    from matplotlib.artist import Artist

__all__ = ["plot_scores"]

SIZE = 6.4, 3.2
"""Inches, across and down."""

DPI = 100

MOST_LABELS = 7
"""How many labels have a color of their own; all others share one."""


def plot_scores(scores: Mapping[str, Sequence[int]]) -> bytes:
    """Draw how scores are distributed, as stacked bars.

    Args:
        scores: How many scores are in each range from 0 to 1, by label, as `RunReport.scores`.

    Returns:
        A PNG of 640x320 pixels.
    """
    from matplotlib.figure import Figure  # slow, and only needed here
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=SIZE, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
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
            color="#999" if len(names) == MOST_LABELS else f"C{len(names)}",
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
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)  # a name with dollar signs is no formula
        text.set_text(_short(name))
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of names in scripts that the font has not
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _most_first(scores: Mapping[str, Sequence[int]]) -> list[tuple[str, Sequence[int]]]:
    """The labels with most scores, each with its counts, and all others as one."""
    labels = sorted(scores.items(), key=lambda item: (-sum(item[1]), item[0]))
    if len(labels) <= MOST_LABELS:
        return labels
    others = [sum(counts) for counts in zip(*(counts for _, counts in labels[MOST_LABELS:]), strict=True)]
    return [*labels[:MOST_LABELS], (f"{len(labels) - MOST_LABELS} others", others)]


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
