"""An evaluation as an HTML page: key figures, tables, plots, and the frames with most mistakes."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from string import Template

from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.report.plots import plot_confusion, plot_precision_recall, plot_thresholds
from prefect_cvat.evaluation.report.sections import Section, detail_sections
from prefect_cvat.evaluation.report.table_formats import Row
from prefect_cvat.evaluation.report.tables import (
    HEADINGS,
    confusion_rows,
    headline,
    notes,
    shape_rows,
    tag_rows,
)
from prefect_cvat.evaluation.report.worst_frames import OUTCOMES, DrawnFrame
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation
from prefect_cvat.rendering.html_page import render_key_figures, wrap_page

__all__ = ["render_evaluation"]


def render_evaluation(
    evaluation: TaskEvaluation, worst: Iterable[DrawnFrame] = (), sections: Iterable[Section] = ()
) -> str:
    """Render an evaluation.

    Args:
        evaluation: The evaluation.
        worst: The frames to draw, see `fetch_worst_frames`.
        sections: Parts to show first, see `comparison_sections`.

    Returns:
        A self-contained HTML page.
    """
    name = f"Task {evaluation.task_id}, {evaluation.task_name}"
    return wrap_page(
        _BODY.substitute(
            task=f'<a href="{html.escape(evaluation.url)}">{html.escape(name)}</a>',
            headline=html.escape(headline(evaluation)),
            notes="".join(f"<li>{html.escape(note)}</li>" for note in notes(evaluation)),
            sections=_sections(sections),
            shapes="".join(_shapes(iou_type, result) for iou_type, result in evaluation.shapes.items()),
            tags=_tags(evaluation),
            worst=_worst("".join(frame.figure() for frame in worst)),
        ),
        title=f"Evaluation of {evaluation.predictions}",
    )


def _shapes(iou_type: IouType, result: Evaluation) -> str:
    figures = [
        ("AP", result.ap),
        ("AP50", result.ap50),
        ("AP75", result.ap75),
        ("precision", result.precision),
        ("recall", result.recall),
        ("F1", result.f1),
    ]
    plots = [
        ("Precision-recall curve", plot_precision_recall(result)),
        ("Precision, recall and F1 by score threshold, all labels", plot_thresholds(result)),
        *([] if iou_type == "keypoints" else [("Confusion matrix", plot_confusion(result))]),
    ]
    confusions = confusion_rows(result)
    return (
        f"<h2>{HEADINGS[iou_type]}</h2>"
        + render_key_figures((name, "-" if value is None else f"{value:.3f}") for name, value in figures)
        + _table(shape_rows(result))
        + '<div class="plots">'
        + "".join(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
            f"<figcaption>{caption}</figcaption></figure>"
            for caption, png in plots
        )
        + "</div>"
        + (f"<h3>Most frequent confusions</h3>{_table(confusions)}" if confusions else "")
        + _sections(detail_sections(iou_type, result))
    )


def _sections(sections: Iterable[Section]) -> str:
    return "".join(f"<h3>{html.escape(section.title)}</h3>{section.content}" for section in sections)


def _tags(evaluation: TaskEvaluation) -> str:
    tags = evaluation.tags
    if tags is None:
        return ""
    return (
        "<h2>Tags</h2>"
        + render_key_figures([("accuracy", f"{tags.accuracy:.3f}"), ("frames", str(tags.frames))])
        + _table(tag_rows(tags))
    )


def _worst(figures: str) -> str:
    if not figures:
        return ""
    legend = "".join(f'<li style="--c:{color}"><i></i>{name}</li>' for name, color in OUTCOMES.items())
    return (
        f'<h2>Frames with most mistakes</h2><ul class="labels">{legend}</ul>'
        f'<div class="frames">{figures}</div>'
    )


def _table(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(str(value))}</td>' for value in row.values())}</tr>" for row in rows
    )
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_BODY = Template("""<style>
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .7rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 1.2rem;
  margin: 1.2rem 0; align-items: start; }
.plots img { display: block; width: 100%; background: #fff; }
.frames a { color: inherit; text-decoration: none; }
.frames svg { height: auto; }
</style>
<section><p>$task<br>$headline</p><ul>$notes</ul>
$sections
$shapes
$tags
$worst</section>
""")
