"""Plots how the scores of a run are distributed, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prefect_cvat.messages.html_text import escape_html
from prefect_cvat.rendering.figures import short_label
from prefect_cvat.rendering.frame_svg import Palette
from prefect_cvat.review.score_histogram import SCORE_BINS

__all__ = ["plot_scores"]

WIDTH, HEIGHT = 640, 320
LEFT, TOP, BOTTOM = 56, 16, 276
"""Pixels of the picture, and the place of the axes in it."""

BAR = 20
"""Pixels of the width of a bar."""

MAX_LABELS = 7
"""Maximum number of labels with their own color. All others share one."""


def plot_scores(scores: Mapping[str, Sequence[int]]) -> str:
    """Plot a histogram of scores, with a stacked bar for each bin.

    Args:
        scores: The number of scores in each bin from 0 to 1, by label, as in `RunReport.scores`.

    Returns:
        An SVG of 640x320 pixels.
    """
    labels = _most_first(scores)
    colors = Palette(name for name, _ in labels)
    highest = max(sum(counts) for counts in zip(*(counts for _, counts in labels), strict=True))
    step = _step(highest)
    top = step * math.ceil(highest / step)
    unit = (BOTTOM - TOP) / top
    right = LEFT + BAR * SCORE_BINS
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for value in range(0, top + 1, step):
        y = BOTTOM - value * unit
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,}</text>')
    for tenth in range(0, 11, 2):
        x = LEFT + tenth * (right - LEFT) / 10
        parts.append(f'<text x="{x:.0f}" y="{BOTTOM + 18}" text-anchor="middle">{tenth / 10:.1f}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle:.0f}" y="{BOTTOM + 36}" text-anchor="middle">score</text>')
    bases = [0] * SCORE_BINS
    for number, (name, counts) in enumerate(labels):
        color = "#999" if number == MAX_LABELS else colors[name]
        for place, count in enumerate(counts):
            if count:
                y = BOTTOM - (bases[place] + count) * unit
                parts.append(
                    f'<rect x="{LEFT + place * BAR}" y="{y:.1f}" width="{BAR - 1}"'
                    f' height="{count * unit:.1f}" fill="{color}"/>'
                )
                bases[place] += count
        y = TOP + 20 * number
        parts.append(f'<rect x="{right + 16}" y="{y}" width="12" height="12" fill="{color}"/>')
        parts.append(f'<text x="{right + 34}" y="{y + 10}">{escape_html(short_label(name, 18))}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" role="img" aria-label="annotations by score" font-family="system-ui, sans-serif"'
        f' font-size="12" fill="#333">{"".join(parts)}</svg>'
    )


def _step(highest: int) -> int:
    """The distance between two grid lines, such as 1, 2, 5 or 10, so that there are at most six."""
    step: int = 10 ** max(0, len(str(highest)) - 2)
    return next(step * factor for factor in (1, 2, 5, 10, 20) if highest <= 5 * step * factor)


def _most_first(scores: Mapping[str, Sequence[int]]) -> list[tuple[str, Sequence[int]]]:
    """The labels with most scores, each with its counts; all others together are the last one."""
    labels = sorted(scores.items(), key=lambda item: (-sum(item[1]), item[0]))
    if len(labels) <= MAX_LABELS:
        return labels
    others = [sum(counts) for counts in zip(*(counts for _, counts in labels[MAX_LABELS:]), strict=True)]
    return [*labels[:MAX_LABELS], (f"{len(labels) - MAX_LABELS} others", others)]
