"""Hides the values of secrets in messages."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

__all__ = ["HIDDEN", "hide_secrets", "remember_secret"]

HIDDEN = "********"

MIN_LENGTH = 4
"""Shorter values are in every other message, and are no secrets."""

_values: tuple[str, ...] = ()


def remember_secret(value: str) -> None:
    """Let `hide_secrets` hide a value from now on, also as it appears in addresses."""
    global _values  # one for the process, as the secrets are
    if len(value) >= MIN_LENGTH:
        known = {*_values, value, quote(value, safe=""), quote_plus(value)}
        _values = tuple(sorted(known, key=len, reverse=True))


def hide_secrets(text: str) -> str:
    """Replace the values of secrets in a text."""
    for value in _values:
        text = text.replace(value, HIDDEN)
    return text
