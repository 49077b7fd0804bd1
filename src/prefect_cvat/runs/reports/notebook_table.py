"""The report of a run as a small HTML table, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prefect_cvat.messages.html_text import escape_html
from prefect_cvat.review.frame_ranking import FrameReview

__all__ = ["render_table"]

MAX_LABELS = 10
"""Maximum number of labels that are listed."""


def render_table(
    heading: str,
    url: str,
    lines: Iterable[str],
    labels: Mapping[str, int],
    review: Sequence[FrameReview],
    max_frames: int,
) -> str:
    """Render key facts, counts by label, and the frames to review first.

    Args:
        heading: The heading, which links to the task.
        url: The address of the task.
        lines: Key facts, one a line.
        labels: The number of annotations by label.
        review: The frames to review first.
        max_frames: Maximum number of these frames.

    Returns:
        HTML without styles and scripts of its own; all texts are escaped.
    """
    most_first = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    counts = [(name, f"{count:,}") for name, count in most_first[:MAX_LABELS]]
    if more := most_first[MAX_LABELS:]:
        counts.append((f"{len(more)} more", f"{sum(count for _, count in more):,}"))
    frames = "".join(
        f"<tr><td>{_link(item.url, f'frame {item.frame}')}</td><td>{item.expected_corrections:.1f}</td>"
        f"<td>{escape_html('; '.join(item.reasons))}</td></tr>"
        for item in review[:max_frames]
    )
    return (
        f"<p><strong>{_link(url, heading)}</strong>"
        + "".join(f"<br>{escape_html(line)}" for line in lines)
        + "</p>"
        + _table(("label", "annotations"), "".join(_row(name, count) for name, count in counts))
        + _table(("review first", "expected corrections", "reasons"), frames)
    )


def _table(head: Sequence[str], rows: str) -> str:
    if not rows:
        return ""
    return (
        f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )


def _row(name: str, count: str) -> str:
    return f"<tr><td>{escape_html(name)}</td><td>{count}</td></tr>"


def _link(url: str, text: str) -> str:
    if not url.startswith(("http://", "https://")):
        return escape_html(text)
    return f'<a href="{escape_html(url)}" target="_blank" rel="noopener">{escape_html(text)}</a>'
