"""Things in words: how many there are, and which."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "listed"]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Say how many there are: `1 frame`, `2 frames`, `0 boxes`.

    Args:
        number: How many.
        noun: What it is, if it is one.
        plural: What they are, if they are several; by default the noun with an `s`.
    """
    if number == 1:
        return f"1 {noun}"
    return f"{number} {plural or f'{noun}s'}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """Say which there are, in quotes, and of how many more there is no room to say it.

    Args:
        names: The names.
        most: How many are named.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
