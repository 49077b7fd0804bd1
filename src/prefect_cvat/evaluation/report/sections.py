"""Parts of the page of an evaluation or a comparison: titles, and tables and plots as HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.comparison.differences import ShapeComparison
from prefect_cvat.evaluation.comparison.task_comparison import TaskComparison
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.report.calibration_plot import calibrations_of, plot_calibration
from prefect_cvat.evaluation.report.comparison_tables import (
    LEGEND,
    compared_mistake_rows,
    compared_size_rows,
    comparison_headline,
    comparison_notes,
    difference_rows,
    frame_rows,
    summary_rows,
    tag_comparison_rows,
)
from prefect_cvat.evaluation.report.detail_tables import (
    calibration_rows,
    gain_note,
    mistake_rows,
    mistakes_by_label_rows,
    size_rows,
)
from prefect_cvat.evaluation.report.table_formats import decimal, html_table
from prefect_cvat.evaluation.report.tables import HEADINGS
from prefect_cvat.evaluation.report.worst_frames import address_of_frame
from prefect_cvat.messages.html_text import escape_html
from prefect_cvat.rendering.review_page.content import PageSection

__all__ = ["comparison_sections", "detail_sections", "html_plots"]


def detail_sections(iou_type: IouType, result: Evaluation) -> list[PageSection]:
    """Mistakes by kind, average precision by size, and calibration."""
    heading = HEADINGS[iou_type]
    mistakes = html_table(mistake_rows(result), gain_note(result))
    by_label = html_table(mistakes_by_label_rows(result), "Number of mistakes by label")
    sections = [
        PageSection(f"{heading}: mistakes by kind", mistakes + by_label),
        PageSection(f"{heading}: average precision by size", html_table(size_rows(result))),
    ]
    if result.calibration is not None:
        plot = html_plots([("Precision by score", plot_calibration({"all labels": result.calibration}))])
        table = html_table(
            calibration_rows(result), f"Expected calibration error: {decimal(result.calibration_error)}"
        )
        sections.append(PageSection(f"{heading}: precision by score", plot + table))
    return sections


def comparison_sections(comparison: TaskComparison, client: Client) -> list[PageSection]:
    """The differences, mistakes, sizes, calibration, and the frames that differ most.

    Args:
        comparison: The comparison.
        client: The server, for links to frames.
    """
    listed = "".join(f"<li>{escape_html(note)}</li>" for note in comparison_notes(comparison))
    sections = [PageSection(comparison_headline(comparison), f"<ul>{listed}</ul>", is_open=True)]
    for iou_type, shapes in comparison.shapes.items():
        sections += _compared(comparison, iou_type, shapes, client)
    if rows := tag_comparison_rows(comparison):
        sections.append(PageSection("Tags compared", html_table(rows)))
    return sections


def _compared(
    comparison: TaskComparison, iou_type: IouType, shapes: ShapeComparison, client: Client
) -> Sequence[PageSection]:
    heading = HEADINGS[iou_type]
    first, second = comparison.first.shapes[iou_type], comparison.second.shapes[iou_type]
    calibrations = calibrations_of([comparison.first, comparison.second], iou_type)
    plots = [("Precision by score", plot_calibration(calibrations))] if calibrations else []
    links = [address_of_frame(client, comparison.first, int(each.frame)) for each in shapes.frames]
    sections = [
        PageSection(f"{heading} compared", html_table(summary_rows(shapes), LEGEND), is_open=True),
        PageSection(f"{heading}: differences by label", html_table(difference_rows(shapes), LEGEND)),
        PageSection(f"{heading}: mistakes compared", html_table(compared_mistake_rows(first, second))),
        PageSection(
            f"{heading}: sizes and calibration compared",
            html_table(compared_size_rows(first, second)) + html_plots(plots),
        ),
    ]
    if shapes.frames:
        sections.append(
            PageSection(f"{heading}: frames that differ most", html_table(frame_rows(shapes), links=links))
        )
    return sections


def html_plots(plots: Iterable[tuple[str, bytes]]) -> str:
    """Plots as HTML, side by side.

    Args:
        plots: The caption and the PNG of each.
    """
    figures = ""
    for caption, png in plots:
        name, data = escape_html(caption), base64.b64encode(png).decode()
        figures += (
            f'<figure><img alt="{name}" src="data:image/png;base64,{data}">'
            f"<figcaption>{name}</figcaption></figure>"
        )
    return f'<div class="plots">{figures}</div>'
