"""Tables as aligned text, as Markdown, and as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_cvat.messages.html_text import escape_html
from prefect_cvat.rendering.run_report_markdown import escape

__all__ = ["Row", "aligned", "decimal", "html_table", "markdown_table"]

Row = dict[str, str | int]
"""A row of a table, by column."""

_TEXTS = frozenset({"label", "true label", "predicted label", "wording", "metric", "mistake", "score"})
"""The columns with text."""


def decimal(value: float | None) -> str:
    """A metric with three decimals; `-` where it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def aligned(rows: Sequence[Row]) -> list[str]:
    """A table as plain lines with aligned columns, numbers to the right."""
    if not rows:
        return []
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    texts = [key in _TEXTS for key in rows[0]]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if is_text else cell.rjust(width)
            for cell, width, is_text in zip(line, widths, texts, strict=True)
        ).rstrip()
        for line in cells
    ]


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table as Markdown. Texts are escaped."""
    if not rows:
        return ""
    lines = [
        list(rows[0]),
        ["---" if key in _TEXTS else "--:" for key in rows[0]],
        *(
            [escape(str(value)) if key in _TEXTS else str(value) for key, value in row.items()]
            for row in rows
        ),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def html_table(rows: Sequence[Row], caption: str = "", links: Sequence[str] = ()) -> str:
    """A table as HTML; empty without rows.

    Args:
        rows: The rows.
        caption: What the table shows, as plain text.
        links: An address for the first cell of each row; none without.
    """
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape_html(name)}</th>' for name in rows[0])
    body = ""
    for place, row in enumerate(rows):
        first, *others = (escape_html(str(value)) for value in row.values())
        if links:
            first = f'<a href="{escape_html(links[place])}">{first}</a>'
        body += f'<tr><th scope="row">{first}</th>{"".join(f"<td>{value}</td>" for value in others)}</tr>'
    name = escape_html(caption or "Table")
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{name}"><table>'
        + (f"<caption>{escape_html(caption)}</caption>" if caption else "")
        + f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
