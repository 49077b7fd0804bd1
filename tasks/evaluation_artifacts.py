"""The artifacts of an evaluation, or of a comparison, in Prefect."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from prefect_cvat.evaluation import TaskComparison, TaskEvaluation
from prefect_cvat.evaluation.report.calibration_plot import calibrations_of, plot_calibration
from prefect_cvat.evaluation.report.comparison_tables import (
    comparison_headline,
    difference_rows,
    render_comparison_markdown,
)
from prefect_cvat.evaluation.report.plots import plot_precision_recall
from prefect_cvat.evaluation.report.tables import HEADINGS, headline, render_markdown, shape_rows
from prefect_cvat.evaluation.report.worst_frames import DrawnFrame
from prefect_cvat.rendering.run_report_markdown import escape
from prefect_cvat.tasks.artifacts import data_uri, warn_if_refused

__all__ = ["publish_evaluation"]

WIDTHS = 640, 320
"""The longer side of a picture in pixels; the second if a picture of the first size has too many bytes."""

MAX_PICTURE_BYTES = 220_000
"""The maximum size of a picture: about 300,000 bytes in base64."""


def publish_evaluation(
    done: TaskEvaluation, worst: Sequence[DrawnFrame], compared: TaskComparison | None
) -> None:
    """Publish an evaluation as artifacts of the current flow run.

    The artifacts of task N are `evaluation-task-N` (Markdown); for each of `boxes`, `masks` and `keypoints`
    that was compared, the table by label `evaluation-boxes-task-N` and the curves
    `precision-recall-boxes-task-N` and `calibration-boxes-task-N`; and the frames with most mistakes, such as
    `worst-frame-7-task-N`. A comparison is `comparison-task-N`, and `comparison-boxes-task-N` its table by
    label; its curves are those of the first, and its frames those with the largest differences.
    """
    with warn_if_refused():
        if compared is None:
            _publish_tables(done)
        else:
            _publish_comparison(compared)
        _publish_pictures(done, worst, compared)


def _publish_tables(done: TaskEvaluation) -> None:
    task = f"task-{done.task_id}"
    description = escape(headline(done))
    create_markdown_artifact(render_markdown(done), f"evaluation-{task}", description)
    for iou_type, result in done.shapes.items():
        name = HEADINGS[iou_type]
        rows = shape_rows(result)
        create_table_artifact(rows, f"evaluation-{name.lower()}-{task}", f"{name} of {description}")


def _publish_comparison(compared: TaskComparison) -> None:
    task = f"task-{compared.first.task_id}"
    description = escape(comparison_headline(compared))
    create_markdown_artifact(render_comparison_markdown(compared), f"comparison-{task}", description)
    for iou_type, shapes in compared.shapes.items():
        name = HEADINGS[iou_type]
        rows = difference_rows(shapes)
        create_table_artifact(rows, f"comparison-{name.lower()}-{task}", f"{name} of {description}")


def _publish_pictures(
    done: TaskEvaluation, worst: Sequence[DrawnFrame], compared: TaskComparison | None
) -> None:
    task = f"task-{done.task_id}"
    description = escape(headline(done))
    evaluations = [done] if compared is None else [compared.first, compared.second]
    for iou_type, result in done.shapes.items():
        name = HEADINGS[iou_type].lower()
        uri = data_uri("image/png", plot_precision_recall(result))
        create_image_artifact(
            uri, f"precision-recall-{name}-{task}", f"Precision over recall, {name} of {description}"
        )
        if curves := calibrations_of(evaluations, iou_type):
            uri = data_uri("image/png", plot_calibration(curves))
            create_image_artifact(
                uri, f"calibration-{name}-{task}", f"Precision by score, {name} of {description}"
            )
    for frame in worst:
        drawings = (frame.svg(width).encode() for width in WIDTHS)
        drawing = next((svg for svg in drawings if len(svg) <= MAX_PICTURE_BYTES), None)
        if drawing is not None:
            uri = data_uri("image/svg+xml", drawing)
            create_image_artifact(uri, f"worst-frame-{frame.frame.number}-{task}", escape(frame.description))
