"""Counts and lists in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["format_counts", "format_duration", "pluralize", "quoted_list"]


def pluralize(number: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: `1 frame`, `2 frames`, `0 boxes`.

    Args:
        number: The count.
        noun: The noun in the singular.
        plural: The noun in the plural; by default with an `s`.
    """
    if number == 1:
        return f"1 {noun}"
    return f"{number} {plural or f'{noun}s'}"


def quoted_list(names: Sequence[str], max_names: int = 8) -> str:
    """Names in quotes, such as `'car', 'bus' and 3 more`.

    Args:
        names: The names.
        max_names: Maximum number of names.
    """
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(map(repr, names[:max_names])) + more


def format_counts(counts: Mapping[str, int], max_names: int | None = None) -> str:
    """Counts by label or reason, the most frequent first: `3 car, 1 person`; or `none`.

    Args:
        counts: The counts by label or reason.
        max_names: Maximum number of labels; the others are added up. None for all.
    """
    if not counts:
        return "none"
    most_first = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} {name}" for name, count in most_first[:max_names]]
    if rest := most_first[len(named) :]:
        named.append(f"{sum(count for _, count in rest)} of {pluralize(len(rest), 'other label')}")
    return ", ".join(named)


def format_duration(seconds: float) -> str:
    """A duration in at most two units: `45 s`, `12 min 5 s` or `3 h 24 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
