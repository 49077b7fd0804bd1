"""Ranges of confidence scores, for histograms."""

from __future__ import annotations

__all__ = ["SCORE_BINS", "score_bin"]


SCORE_BINS = 20
"""Into how many ranges of equal width scores are counted."""


def score_bin(score: float) -> int:
    """The range that a score is counted in: 0 for 0 to 0.05, and so on; the last one holds 1 as well."""
    return min(int(score * SCORE_BINS), SCORE_BINS - 1)
