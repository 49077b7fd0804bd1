"""The report of a run as an HTML page: key figures, labels, and frames with their annotations."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Template

from prefect_cvat.rendering.frame_svg import AnnotatedFrame, Palette, render_figure
from prefect_cvat.rendering.html_page import render_key_figures, wrap_page
from prefect_cvat.runs.reports.run_report import RunReport

__all__ = ["Section", "render_page", "render_report"]


@dataclass(frozen=True)
class Section:
    """The section of a page for one run.

    Attributes:
        report: The report of the run.
        frames: The frames to draw.
        labels: The names of labels and sublabels by id.
        heading: The heading of the section; none if it is empty.
    """

    report: RunReport
    frames: Iterable[AnnotatedFrame]
    labels: Mapping[int, str]
    heading: str = ""


def render_report(
    report: RunReport, frames: Iterable[AnnotatedFrame], labels: Mapping[int, str], *, title: str
) -> str:
    """Render the report of one run.

    Args:
        report: The report.
        frames: The frames to draw.
        labels: The names of labels and sublabels by id.
        title: The title of the page.

    Returns:
        A self-contained HTML page.
    """
    return render_page([Section(report, frames, labels)], title=title)


def render_page(sections: Iterable[Section], *, title: str) -> str:
    """Render the reports of several runs, one below the other, as a self-contained HTML page."""
    return wrap_page("".join(map(_section, sections)), title=title)


def _section(section: Section) -> str:
    report = section.report
    most_first = sorted(report.labels.items(), key=lambda item: (-item[1], item[0]))
    colors = Palette(name for name, _ in most_first)
    figures = [
        ("frames", str(report.frames)),
        ("annotations", str(sum(report.labels.values()))),
        *([("tracks", str(sum(report.tracks.values())))] if report.tracks else []),
        ("seconds", f"{report.seconds:.1f}"),
        ("frames per second", f"{report.frames_per_second:.1f}"),
    ]
    return _SECTION.substitute(
        heading=f"<h2>{html.escape(section.heading)}</h2>" if section.heading else "",
        task=html.escape(f"Task {report.task_id}, {report.task_name}, by {report.function}"),
        figures=render_key_figures(figures),
        labels="".join(
            f'<li style="--c:{colors[name]}"><i></i>{html.escape(name)} <b>{count}</b></li>'
            for name, count in most_first
        ),
        lines="".join(f"<li>{html.escape(line)}</li>" for line in report.lines()[3:]),
        frames="".join(render_figure(frame, section.labels, colors) for frame in section.frames),
    )


_SECTION = Template("""<section>$heading<p>$task</p>
$figures
<ul class="labels">$labels</ul><ul>$lines</ul>
<div class="frames">$frames</div></section>
""")
