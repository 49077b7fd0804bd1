"""Suggestions for misspelled names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]

CUTOFF = 0.82
"""Minimum ratio of `difflib` for a suggestion: 'mouse' and 'house', which are different things, have 0.8."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Suggest a similar name as the end of a message: `; did you mean 'car'?`, or nothing.

    Case, spaces, hyphens and underscores are ignored.
    """
    by_key = {_key(other): other for other in names}
    close = difflib.get_close_matches(_key(name), by_key, n=1, cutoff=CUTOFF)
    return f"; did you mean {by_key[close[0]]!r}?" if close else ""


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in " -_") or name
