"""Bins of confidence scores, for histograms."""

from __future__ import annotations

__all__ = ["SCORE_BINS", "score_bin"]

SCORE_BINS = 20
"""The number of bins of equal width from 0 to 1."""


def score_bin(score: float) -> int:
    """The bin of a score: 0 for scores below 0.05, and so on; the last bin includes 1."""
    return min(int(score * SCORE_BINS), SCORE_BINS - 1)
