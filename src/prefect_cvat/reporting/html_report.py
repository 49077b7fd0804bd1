"""A run's report as one HTML file: what was found, drawn on the frames, and the figures."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from string import Template

from prefect_cvat.reporting.frame_svg import AnnotatedFrame, Palette, render_figure
from prefect_cvat.runs.report import RunReport

__all__ = ["Section", "render_page", "render_report", "wrap_page"]


@dataclass(frozen=True)
class Section:
    """What is shown of one run: a report, and frames.

    Attributes:
        report: What the run did.
        frames: The frames to show.
        labels: The names of labels and sublabels by id.
        heading: What stands above; nothing if it is empty.
    """

    report: RunReport
    frames: Iterable[AnnotatedFrame]
    labels: Mapping[int, str]
    heading: str = ""


def render_report(
    report: RunReport, frames: Iterable[AnnotatedFrame], labels: Mapping[int, str], *, title: str
) -> str:
    """Draw a report.

    Args:
        report: What the run did.
        frames: The frames to show.
        labels: The names of labels and sublabels by id.
        title: The page's title.

    Returns:
        HTML that needs no other file.
    """
    return render_page([Section(report, frames, labels)], title=title)


def render_page(sections: Iterable[Section], *, title: str) -> str:
    """Draw the reports of several runs, one below the other, as HTML that needs no other file."""
    return wrap_page("".join(map(_section, sections)), title=title)


def wrap_page(sections: str, *, title: str) -> str:
    """Make a page of sections that are HTML already."""
    return _PAGE.substitute(title=html.escape(title), sections=sections)


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
        figures="".join(f"<div><b>{value}</b>{name}</div>" for name, value in figures),
        labels="".join(
            f'<li style="--c:{colors[name]}"><i></i>{html.escape(name)} <b>{count}</b></li>'
            for name, count in most_first
        ),
        lines="".join(f"<li>{html.escape(line)}</li>" for line in report.lines()[3:]),
        frames="".join(render_figure(frame, section.labels, colors) for frame in section.frames),
    )


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --line: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1280px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0; }
.numbers { display: flex; gap: 2.5rem; margin: 1.5rem 0; }
.numbers b { display: block; font-size: 1.8rem; font-weight: 600; }
ul { list-style: none; padding: 0; }
ul.labels { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; }
ul.labels i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; background: var(--c);
  margin-right: .4em; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(380px, 1fr)); gap: 1.2rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; }
svg { display: block; width: 100%; height: auto; background: #0002; }
figcaption { padding: .5rem .8rem; font-size: .85rem; }
figcaption span { border: 1px solid var(--c); border-radius: 4px; padding: 0 .4em; }
</style></head><body>
<h1>$title</h1>
$sections
</body></html>
""")

_SECTION = Template("""<section>$heading<p>$task</p>
<div class="numbers">$figures</div>
<ul class="labels">$labels</ul><ul>$lines</ul>
<div class="frames">$frames</div></section>
""")
