"""Numbers of things, in words."""

from __future__ import annotations

__all__ = ["counted"]


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
