"""Text of functions and servers for HTML and SVG."""

from __future__ import annotations

import html

__all__ = ["escape_html", "plain_text"]


def escape_html(text: str) -> str:
    """Escape text for HTML and SVG, also in attributes."""
    return html.escape(plain_text(text))


def plain_text(text: str) -> str:
    """Replace characters that cannot be seen by spaces.

    Some reverse the direction of text; and XML allows no control characters.
    """
    return "".join(char if char.isprintable() else " " for char in text)
