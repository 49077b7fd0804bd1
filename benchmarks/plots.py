"""Draw what `pipeline.py --json FILE` has measured: memory over frames, and efficiency.

python benchmarks/plots.py benchmarks/pipeline.json docs/images
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

NAMES = {"ours": "prefect-cvat", "sdk": "cvat-sdk"}
RUNNERS = {"annotate_task": ("annotate_task()", 0.95, "--"), "flow": ("flow", 0.88, ":")}
"""What each is called, the least efficiency that it is to have, and the line for that."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    results = json.loads(arguments.results.read_text())
    for name, draw in (("memory", memory), ("efficiency", efficiency)):
        figure = draw(results[name])
        figure.savefig(arguments.folder / f"benchmark-{name}.png", dpi=120, bbox_inches="tight")


def memory(rows: list[dict[str, Any]]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(7, 4))
    for side, name in NAMES.items():
        points = sorted((row["frames"], row["peak_mb"]) for row in rows if row["side"] == side)
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
        above = {"xytext": (0, 8), "ha": "center"}
        beside = {"xytext": (9, -4), "ha": "left"}  # the SDK's line is steep
        for frames, peak in points:
            place = above if side == "ours" else beside
            axes.annotate(f"{peak:.0f} MB", (frames, peak), textcoords="offset points", fontsize=9, **place)
    axes.set(xlabel="frames of the task", ylabel="peak memory of the process (MB)")
    axes.set_xlim(0, 1.1 * max(row["frames"] for row in rows))
    axes.set_ylim(0, 1.15 * max(row["peak_mb"] for row in rows))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda frames, _: f"{frames:,.0f}"))
    axes.grid(alpha=0.3)
    axes.legend()
    axes.set_title("768x576 frames with 30 boxes each")
    return figure


def efficiency(rows: list[dict[str, Any]]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(7, 4))
    stages = list(dict.fromkeys((row["fetch_seconds"], row["detect_seconds"]) for row in rows))
    for index, (runner, (name, least, line)) in enumerate(RUNNERS.items()):
        shares = {
            (row["fetch_seconds"], row["detect_seconds"]): row["efficiency"]
            for row in rows
            if row["runner"] == runner
        }
        bars = axes.bar(
            [place + 0.4 * (index - 0.5) for place in range(len(stages))],
            [shares[stage] for stage in stages],
            width=0.38,
            label=name,
            color=("tab:blue", "tab:green")[index],
        )
        axes.bar_label(bars, fmt="%.3f", label_type="center", color="white")
        axes.axhline(least, color="black", linestyle=line, label=f"{name}: at least {least}")
    axes.set_xticks(
        range(len(stages)), [f"fetch {fetch:g} s\ndetect {detect:g} s" for fetch, detect in stages]
    )
    axes.set(xlabel="a batch", ylabel="slowest stage / wall time", ylim=(0, 1.05))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.2), ncols=2)
    return figure


if __name__ == "__main__":
    main()
