"""The page of an evaluation: key figures, tables, plots, and the frames, those with most mistakes first."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from prefect_cvat.cvat.client import Client
from prefect_cvat.evaluation.comparison.task_comparison import TaskComparison
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.report.plots import plot_precision_recall, plot_thresholds
from prefect_cvat.evaluation.report.sections import comparison_sections, detail_sections, html_plots
from prefect_cvat.evaluation.report.table_formats import html_table
from prefect_cvat.evaluation.report.tables import (
    HEADINGS,
    confusion_matrix,
    confusion_rows,
    headline,
    notes,
    shape_rows,
    tag_rows,
)
from prefect_cvat.evaluation.report.worst_frames import (
    FrameOutcomes,
    address_of_frame,
    most_different_frames,
    plan_of_frames,
    rank_worst_frames,
)
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation
from prefect_cvat.frames import Frame, Quality
from prefect_cvat.messages.html_text import escape_html
from prefect_cvat.rendering.review_page.content import (
    PageFrame,
    PageImage,
    PageRun,
    PageSection,
    count_figure,
)
from prefect_cvat.rendering.review_page.shapes_by_frame import ShapesByFrame
from prefect_cvat.rendering.review_page.writer import render_review_page
from prefect_cvat.rendering.run_page import fetch_page_images

__all__ = ["render_evaluation"]

SHADES = 10
"""The number of shades of a cell of the confusion matrix."""


def render_evaluation(
    client: Client,
    evaluation: TaskEvaluation,
    file: Path | None = None,
    *,
    max_frames: int = 200,
    quality: Quality = "original",
    compared: TaskComparison | None = None,
) -> str:
    """Download the images of frames, and render an evaluation.

    Args:
        client: The server.
        evaluation: The evaluation.
        file: The file of the page; None if all images must be part of the page.
        max_frames: Maximum number of frames.
        quality: `original` or `compressed` images.
        compared: A comparison of this evaluation with another one. It is shown first, and the frames that
            differ most come first.

    Returns:
        An HTML page.

    Raises:
        MediaError: An image cannot be decoded.
        StorageError: The folder beside the page cannot be written.
        PrefectCvatError: A request to the server failed.
    """
    ranked = rank_worst_frames(evaluation, max_frames, with_all=True)
    if compared is not None:
        different = most_different_frames(compared, max_frames)
        numbers = {outcomes.frame for outcomes in different}
        ranked = [*different, *(each for each in ranked if each.frame not in numbers)][:max_frames]
    plan = plan_of_frames(evaluation, [outcomes.frame for outcomes in ranked])
    images = fetch_page_images(client, plan, plan.frames.numbers, file, quality)
    by_number = plan.frames.by_number
    shapes = ShapesByFrame()
    for outcomes in ranked:
        _add_shapes(by_number[outcomes.frame], outcomes, shapes)
    frames = [
        _page_frame(client, evaluation, by_number[outcomes.frame], images[outcomes.frame], outcomes, shapes)
        for outcomes in ranked
    ]
    total = len(evaluation.evaluated_frames)
    shown = [f"{len(frames):,} of {total:,} frames are on this page"] if len(frames) < total else []
    page = PageRun(
        heading=f"Task {evaluation.task_id}, {evaluation.task_name}",
        key=f"prefect-cvat evaluation {evaluation.url} {evaluation.predictions}",
        frames=frames,
        url=evaluation.url,
        subtitle=headline(evaluation),
        figures=_figures(evaluation),
        notes=[*shown, *shapes.notes(), *notes(evaluation)],
        sections=_sections(client, evaluation, compared),
        is_evaluation=True,
    )
    against = "" if compared is None else f" against {compared.second.predictions}"
    return render_review_page([page], title=f"Evaluation of {evaluation.predictions}{against}")


def _add_shapes(frame: Frame, outcomes: FrameOutcomes, shapes: ShapesByFrame) -> None:
    for each in outcomes.shapes:
        note = f"(is {each.true_label})" if each.outcome == "wrong label" else ""
        shapes.add(frame, each.shape, each.label, kind=each.outcome, note=note)


def _page_frame(
    client: Client,
    evaluation: TaskEvaluation,
    frame: Frame,
    image: PageImage,
    outcomes: FrameOutcomes,
    shapes: ShapesByFrame,
) -> PageFrame:
    summary = outcomes.summary()
    return PageFrame(
        frame,
        image,
        shapes.of(frame.number),
        outcomes.counts.total(),
        url=address_of_frame(client, evaluation, frame.number),
        reasons=list(summary.values()),
        mistakes=outcomes.mistakes,
    )


def _figures(evaluation: TaskEvaluation) -> list[tuple[str, str]]:
    figures: list[tuple[str, str]] = [count_figure(evaluation.frames, "frame")]
    for iou_type, result in evaluation.shapes.items():
        of_type = f" ({HEADINGS[iou_type].lower()})" if len(evaluation.shapes) > 1 else ""
        measured = {
            "AP": result.ap,
            "AP50": result.ap50,
            "precision": result.precision,
            "recall": result.recall,
        }
        measured["F1"] = result.f1
        figures += [
            (f"{name}{of_type}", "-" if value is None else f"{value:.3f}") for name, value in measured.items()
        ]
    if evaluation.tags is not None:
        figures.append(("tags: exact match", f"{evaluation.tags.accuracy:.3f}"))
    return figures


def _sections(
    client: Client, evaluation: TaskEvaluation, compared: TaskComparison | None
) -> list[PageSection]:
    sections = [] if compared is None else comparison_sections(compared, client)
    for iou_type, result in evaluation.shapes.items():
        heading = HEADINGS[iou_type]
        sections.append(
            PageSection(
                f"{heading} by label", html_table(shape_rows(result)), is_open=len(result.by_label) <= 12
            )
        )
        sections.append(PageSection(f"{heading}: curves", _plots(result)))
        if iou_type != "keypoints":
            sections.append(PageSection(f"{heading}: confusions", _confusions(iou_type, result)))
        sections += detail_sections(iou_type, result)
    if evaluation.tags is not None:
        sections.append(PageSection("Tags by label", html_table(tag_rows(evaluation.tags)), is_open=True))
    return sections


def _plots(result: Evaluation) -> str:
    return html_plots(
        [
            ("Precision-recall curve", plot_precision_recall(result)),
            ("Precision, recall and F1 by score threshold, all labels", plot_thresholds(result)),
        ]
    )


def _confusions(iou_type: IouType, result: Evaluation) -> str:
    rows = confusion_rows(result)
    most = f"<h4>Most frequent confusions</h4>{html_table(rows)}" if rows else ""
    return f"{_matrix(iou_type, result)}{most}"


def _matrix(iou_type: IouType, result: Evaluation) -> str:
    """The confusion matrix as a table, in which the shade of a cell is its part of the row."""
    counts, names = confusion_matrix(result)
    head = "".join(f'<th scope="col"><span>{escape_html(name)}</span></th>' for name in [*names, "(missed)"])
    shades = np.rint(SHADES * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(int)
    body = ""
    for name, row, shaded in zip([*names, "(nothing)"], counts.tolist(), shades.tolist(), strict=True):
        cells = "".join(
            f'<td class="s{shade}">{count or ""}</td>' for count, shade in zip(row, shaded, strict=True)
        )
        body += f'<tr><th scope="row">{escape_html(name)}</th>{cells}</tr>'
    caption = (
        f"Rows are what the {HEADINGS[iou_type].lower()} are, columns are predictions."
        " The stronger the color of a cell, the larger its part of its row."
    )
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="Confusion matrix"><table class="matrix">'
        f"<caption>{caption}</caption><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
