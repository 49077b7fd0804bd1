"""Things in words: how many there are, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["format_counts", "pluralize", "quoted_list"]


def pluralize(number: int, noun: str, plural: str | None = None) -> str:
    """Say how many there are: `1 frame`, `2 frames`, `0 boxes`.

    Args:
        number: How many.
        noun: What it is, if it is one.
        plural: What they are, if they are several; by default the noun with an `s`.
    """
    if number == 1:
        return f"1 {noun}"
    return f"{number} {plural or f'{noun}s'}"


def quoted_list(names: Sequence[str], most: int = 8) -> str:
    """Say which there are, in quotes, and of how many more there is no room to say it.

    Args:
        names: The names.
        most: How many are named.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def format_counts(counts: Mapping[str, int], most: int | None = None) -> str:
    """Say how many there are of each label or reason, the most frequent first: `3 car, 1 person`; or `none`.

    Args:
        counts: How many, by label or reason.
        most: How many labels are named; the others are counted together. None names all.
    """
    if not counts:
        return "none"
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} {name}" for name, count in most_first[:most]]
    if rest := most_first[len(named) :]:
        named.append(f"{sum(count for _, count in rest)} of {pluralize(len(rest), 'other label')}")
    return ", ".join(named)
