"""Advice on a label for which a function costs more time than it saves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prefect_cvat.messages.argument_names import argument

__all__ = ["MIN_ANNOTATIONS", "MIN_SHAPES", "advise", "best_cut"]

MIN_SHAPES = 20
"""Minimum number of shapes with scores from which a threshold is proposed: fewer depend on chance."""

MIN_ANNOTATIONS = 10
"""Minimum number of annotations of a label about which there is advice."""


def advise(function: str, label: str, lost: float, count: int, scored: Sequence[tuple[float, float]]) -> str:
    """Advise to leave out a label or to raise its threshold.

    Args:
        function: The name of the function.
        label: The name of the label.
        lost: The seconds that the label costs beyond those that it saves.
        count: Number of its annotations.
        scored: The score of each shape, and the seconds that it has saved.

    Returns:
        A sentence; empty if the label saves time, or has few annotations.
    """
    if lost <= 0 or count < MIN_ANNOTATIONS:
        return ""
    start = f"{function} costs more than it saves for {label!r} ({lost / 60:.1f} min)"
    if len(scored) >= MIN_SHAPES:
        threshold, gain = best_cut(scored)
        if threshold is not None and gain > 0:
            return (
                f"{start}: with a threshold of {threshold:.2f} ({argument('label_thresholds')}) it would have"
                f" saved {gain / 60:.1f} min"
            )
    return f"{start}: leave it out ({argument('label_map')} with null for it)"


def best_cut(scored: Sequence[tuple[float, float]]) -> tuple[float | None, float]:
    """The threshold with the greatest sum of seconds saved by shapes from it on.

    Returns:
        The threshold, halfway to the next lower score, and the seconds; None and 0 if every threshold costs
        more than it saves.
    """
    if not scored:
        return None, 0.0
    scores, values = np.array(sorted(scored, reverse=True), dtype=np.float64).T
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # last of equal scores
    sums = np.cumsum(values)[ends]
    best = int(sums.argmax())
    if sums[best] <= 0:
        return None, 0.0
    here = scores[ends[best]]
    below = scores[ends[best + 1]] if best + 1 < len(ends) else 0.0
    return float((here + below) / 2), float(sums[best])
