"""Writes the page: one HTML file that fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from prefect_cvat.files.output_file import write_text
from prefect_cvat.messages.html_text import escape_html, plain_text
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.rendering.frame_svg import Palette
from prefect_cvat.rendering.review_page.content import KINDS, PageFrame, PageRun, PageSection, PageShape
from prefect_cvat.rendering.review_page.image_folder import ImageFolder

__all__ = ["list_section", "render_review_page", "write_review_page"]

SHAPES_WITHOUT_SCRIPT = 100
"""Maximum number of outlines on a frame for readers whose browser runs no JavaScript."""

MAX_REASONS = 6
MAX_LABELS = 6
"""Maximum number of reasons, and of labels that are counted, on a card."""


def render_review_page(runs: Sequence[PageRun], *, title: str) -> str:
    """Render a page.

    It contains everything that it shows, except images in a folder beside it (`PageImage.file`), and its
    Content-Security-Policy forbids to fetch anything. Without JavaScript it can be read, but not filtered.

    Args:
        runs: The runs, with their frames.
        title: The title, as plain text.
    """
    colors = _label_colors(runs)
    numbered = [(number, frame) for number, run in enumerate(runs) for frame in run.frames]
    has_files = any(frame.image.file for _, frame in numbered)
    style = f"{_asset('review.css')}:root {{ --ratio: {_ratio([frame for _, frame in numbered]):.3f}; }}\n"
    script = _asset("review.js")
    images = "data: 'self' file:" if has_files else "data:"
    policy = (
        f"default-src 'none'; img-src {images}; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    return Template(_asset("page.html")).substitute(
        policy=policy,
        title=escape_html(title),
        style=style,
        runs="".join(_run(run, is_alone=len(runs) == 1) for run in runs),
        frames="\n".join(_card(index, frame, colors) for index, (_, frame) in enumerate(numbered)),
        is_filled=" hidden" if numbered else "",
        nothing="No frame matches." if numbered else "There are no frames to show.",
        content=_json(_content(runs, numbered, colors)),
        script=script,
    )


def write_review_page(file: Path, html: str) -> None:
    """Write a page, then remove the images of an earlier page in the folder beside it.

    Raises:
        StorageError: It cannot be written; the earlier page still has its images. Or these cannot be removed.
    """
    write_text(file, html)
    ImageFolder(file).remove_unused(html)


def list_section(title: str, lines: Iterable[str]) -> PageSection:
    """A section of lines of plain text."""
    return PageSection(title, f'<ul class="notes">{_items(lines)}</ul>')


def _items(lines: Iterable[str]) -> str:
    return "".join(f"<li>{escape_html(line)}</li>" for line in lines)


def _run(run: PageRun, *, is_alone: bool) -> str:
    heading = "" if is_alone else f"<h2>{escape_html(run.heading)}</h2>"
    subtitle = escape_html(run.subtitle)
    if url := _address(run.url):
        subtitle += (
            f' · <a href="{escape_html(url)}" target="_blank" rel="noopener noreferrer">the task in CVAT</a>'
        )
    figures = "".join(
        f"<div><dt>{escape_html(name)}</dt><dd>{escape_html(text)}</dd></div>" for name, text in run.figures
    )
    notes = _items(run.notes)
    sections = "".join(
        f'<details class="section"{" open" if section.is_open else ""}>'
        f"<summary>{escape_html(section.title)}</summary>{section.content}</details>"
        for section in run.sections
    )
    return (
        f'<section>{heading}<p class="subtitle">{subtitle}</p>'
        + (f'<dl class="figures">{figures}</dl>' if figures else "")
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
        + f"{sections}</section>"
    )


def _card(index: int, frame: PageFrame, colors: dict[str, str]) -> str:
    name, number = escape_html(frame.frame.name), frame.frame.number
    width, height = frame.frame.width, frame.frame.height
    what = f"frame {number}, {name}: {pluralize(frame.count, 'shape')}"
    uri = f"data:image/jpeg;base64,{base64.b64encode(frame.image.jpeg).decode()}"
    image = (
        f'<img alt="" width="{width}" height="{height}" decoding="async" src="{uri}">'
        if frame.image.jpeg
        else ""
    )
    outlines = _outlines(frame.shapes[:SHAPES_WITHOUT_SCRIPT], colors)
    drawn = f" ({len(frame.shapes)} of them drawn)" if len(frame.shapes) < frame.count else ""
    tally = _tally(Counter(shape.label for shape in frame.shapes if shape.kind != "truth"))
    more = frame.reasons[MAX_REASONS:]
    reasons = [*frame.reasons[:MAX_REASONS], *([f"and {len(more)} more"] if more else [])]
    parts = [
        f'<article class="frame" aria-labelledby="name-{index}">',
        f'<button type="button" class="picture" aria-label="Enlarge {what}">{image}'
        f'<noscript><svg viewBox="0 0 {width} {height}" fill="none">{outlines}</svg></noscript></button>',
        f'<div class="about"><h3 id="name-{index}">{name}</h3>',
        f'<p class="soft">frame {number} · {width} × {height} · {pluralize(frame.count, "shape")}{drawn}</p>',
    ]
    if frame.mistakes:
        parts.append(f'<p class="expected">{pluralize(frame.mistakes, "mistake")}</p>')
    elif frame.corrections is not None:
        corrections = f"{frame.corrections:.1f}".removesuffix(".0")
        noun = "correction" if corrections == "1" else "corrections"
        parts.append(f'<p class="expected">{corrections} {noun} expected</p>')
    if reasons:
        parts.append(
            f'<ul class="reasons">{"".join(f"<li>{escape_html(reason)}</li>" for reason in reasons)}</ul>'
        )
    if frame.shapes:
        parts.append(f'<p class="tally">{escape_html(tally)}</p>')
    if frame.tags:
        parts.append(
            "<p>" + "".join(f'<span class="tag">{escape_html(tag)}</span> ' for tag in frame.tags) + "</p>"
        )
    link = (
        f'<a href="{escape_html(url)}" target="_blank" rel="noopener noreferrer">Open in CVAT</a>'
        if (url := _address(frame.url))
        else ""
    )
    parts.append(
        '<p class="actions"><label data-js hidden><input type="checkbox"> Looked at</label>'
        f"{link}</p></div></article>"
    )
    return "".join(parts)


def _tally(labels: Counter[str]) -> str:
    most_first = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count} {name}" for name, count in most_first[:MAX_LABELS]]
    more = len(most_first) - len(named)
    return ", ".join([*named, *([f"{pluralize(more, 'more label')}"] if more else [])])


def _ratio(frames: Sequence[PageFrame]) -> float:
    """Width by height of the pictures of all cards: that of most frames, within bounds."""
    ratios = sorted(frame.frame.width / frame.frame.height for frame in frames)
    return min(max(ratios[len(ratios) // 2], 1.0), 1.8) if ratios else 1.5


def _outlines(shapes: Iterable[PageShape], colors: dict[str, str]) -> str:
    """The outlines of shapes as SVG paths, one for each color and width."""
    paths: dict[tuple[str, int], str] = {}
    for shape in shapes:
        left, top, right, bottom = map(_short, shape.box)
        style = KINDS[shape.kind].color or colors[shape.label], 7 if shape.style == "dots" else 2
        path = shape.path or f"M{left} {top}H{right}V{bottom}H{left}Z"
        paths[style] = paths.get(style, "") + path
    return "".join(
        f'<path d="{path}" stroke="{color}" stroke-width="{width}" stroke-linecap="round"'
        ' vector-effect="non-scaling-stroke"/>'
        for (color, width), path in paths.items()
    )


def _content(
    runs: Sequence[PageRun], numbered: Sequence[tuple[int, PageFrame]], colors: dict[str, str]
) -> dict[str, Any]:
    """What the script works with. Shapes and frames refer to labels, kinds and doubts by their index."""
    labels = {name: index for index, name in enumerate(colors)}
    kinds = {name: index for index, name in enumerate(KINDS)}
    doubts = Counter(doubt for _, frame in numbered for doubt in frame.doubts)
    doubt_numbers = {name: index for index, (name, _) in enumerate(doubts.most_common())}
    return {
        "runs": [{"key": run.key, "heading": plain_text(run.heading)} for run in runs],
        "labels": [{"name": plain_text(name), "color": color} for name, color in colors.items()],
        "kinds": [
            {
                "name": kind.name,
                "color": kind.color,
                "dashed": kind.is_dashed,
                "named": kind.is_named,
                "mistake": kind.is_mistake,
            }
            for kind in KINDS.values()
        ],
        "doubts": [plain_text(doubt) for doubt in doubt_numbers],
        "evaluation": any(run.is_evaluation for run in runs),
        "frames": [
            {
                "run": number,
                "number": frame.frame.number,
                "name": plain_text(frame.frame.name),
                "width": frame.frame.width,
                "height": frame.frame.height,
                "url": _address(frame.url),
                "file": frame.image.file,
                "count": frame.count,
                "corrections": frame.corrections,
                "doubts": [doubt_numbers[doubt] for doubt in frame.doubts],
                "tags": [labels[tag] for tag in frame.tags],
                "shapes": [
                    [
                        labels[shape.label],
                        kinds[shape.kind],
                        shape.style[0],
                        None if shape.score is None else round(shape.score, 3),
                        [_short(number) for number in shape.box],
                        shape.path,
                        plain_text(shape.note),
                    ]
                    for shape in frame.shapes
                ],
            }
            for number, frame in numbered
        ],
    }


def _label_colors(runs: Sequence[PageRun]) -> dict[str, str]:
    """The colors of the labels by name, the most frequent first."""
    counts: Counter[str] = Counter()
    for run in runs:
        for frame in run.frames:
            counts.update(shape.label for shape in frame.shapes)
            counts.update(frame.tags)
    names = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    palette = Palette(names)
    return {name: palette[name] for name in names}


def _short(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _json(content: object) -> str:
    """JSON that can be part of a script element: nothing in it ends the element."""
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _address(url: str) -> str:
    """An address that a link may lead to; empty for other schemes, which could run code."""
    return url if url.startswith(("http://", "https://")) else ""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")
