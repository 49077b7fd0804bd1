"""Draws what `server.py` has measured."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

SIDES = {
    "ours": ("prefect-cvat", "tab:blue"),
    "again": ("prefect-cvat again, nothing to add", "lightsteelblue"),
    "sdk": ("cvat-sdk", "tab:orange"),
    "bare": ("the chunks alone, four at a time", "lightgrey"),
}
_HEIGHT = 0.2


def draw(rows: list[dict[str, Any]]) -> plt.Figure:
    """Seconds and requests of each side, row by row."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 0.5 + 0.75 * len(rows)), sharey=True, width_ratios=(3, 2)
    )
    for place, row in enumerate(rows):
        sides = [side for side in SIDES if side in row["median"]]
        for index, side in enumerate(sides):
            at = place + (index - (len(sides) - 1) / 2) * _HEIGHT
            name, color = SIDES[side]
            for axes, figure_name, form in ((left, "wall", "{:.1f} s"), (right, "requests", "{:.0f}")):
                value = row["median"][side][figure_name]
                bar = axes.barh(at, value, height=_HEIGHT, color=color, label=name)
                axes.bar_label(bar, [form.format(value)], padding=2, fontsize=7)
    left.set_yticks(range(len(rows)), [row["title"] for row in rows])
    left.set_ylim(len(rows) - 0.5, -0.5)
    left.set(xlabel="seconds")
    right.set(xlabel="requests")
    for axes in (left, right):
        axes.margins(x=0.12)
        axes.grid(axis="x", alpha=0.3)
    shown = dict(zip(*reversed(left.get_legend_handles_labels()), strict=True))
    names = [name for name, _ in SIDES.values() if name in shown]
    figure.legend(
        [shown[name] for name in names], names, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4
    )
    figure.tight_layout()
    return figure
