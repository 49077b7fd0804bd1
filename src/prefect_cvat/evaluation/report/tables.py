"""An evaluation as tables: rows, plain lines, and Markdown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from prefect_cvat.evaluation.curves import Counts
from prefect_cvat.evaluation.expected_time import expected_time
from prefect_cvat.evaluation.inputs.coco_dataset import IouType
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.report.detail_tables import detail_lines, detail_markdown
from prefect_cvat.evaluation.report.table_formats import Row, aligned, decimal, markdown_table
from prefect_cvat.evaluation.tag_metrics import TagEvaluation
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation
from prefect_cvat.messages.plurals import format_duration, pluralize
from prefect_cvat.options.correction_options import CorrectionSeconds
from prefect_cvat.rendering.run_report_markdown import escape

__all__ = [
    "HEADINGS",
    "Row",
    "aligned",
    "confusion_matrix",
    "confusion_rows",
    "expected_time_lines",
    "headline",
    "notes",
    "plain_lines",
    "render_markdown",
    "shape_rows",
    "tag_rows",
]

HEADINGS: Mapping[IouType, str] = {"bbox": "Boxes", "segm": "Masks", "keypoints": "Keypoints"}
"""The heading of each IoU type."""

MAX_CONFUSED = 20
"""Maximum number of labels in the confusion matrix: those with most objects. All others are one row."""

MAX_CONFUSIONS = 20
"""Maximum number of rows of a table of confusions: the most frequent ones."""


def shape_rows(evaluation: Evaluation) -> list[Row]:
    """A row for all labels, then one for each label with objects or false positives, most objects first."""
    with_any = [
        (name, measured)
        for name, measured in evaluation.by_label.items()
        if measured.truth or measured.false_positives
    ]
    by_label = sorted(with_any, key=lambda item: (-item[1].truth, item[0]))
    rows = [("all", evaluation), *by_label] if len(by_label) != 1 else by_label
    return [
        {
            "label": name,
            "AP": decimal(measured.ap),
            "AP50": decimal(measured.ap50),
            "AP75": decimal(measured.ap75),
            **_counts(measured),
            "best F1": decimal(measured.best_f1),
            "at score": decimal(measured.best_threshold),
        }
        for name, measured in rows
    ]


def tag_rows(evaluation: TagEvaluation) -> list[Row]:
    """A row for each label."""
    return [{"label": name, **_counts(counts)} for name, counts in evaluation.by_label.items()]


def confusion_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each pair of a true and a predicted label that were confused, most frequent first."""
    confusion = evaluation.confusion
    pairs = [
        (count, label, other)
        for label, counts in zip(confusion.labels, confusion.counts, strict=False)
        for other, count in zip(confusion.labels, counts, strict=False)
        if count and label != other
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1:]))
    return [
        {"true label": label, "predicted label": other, "count": n}
        for n, label, other in pairs[:MAX_CONFUSIONS]
    ]


def expected_time_lines(evaluation: TaskEvaluation, seconds: CorrectionSeconds) -> list[str]:
    """The time that correcting the predictions would take, a line for each IoU type with objects."""
    lines = []
    for result in evaluation.shapes.values():
        expected = expected_time(result, seconds)
        if expected.by_hand:
            saved = expected.by_hand - expected.with_function
            lines.append(
                f"time for {HEADINGS[result.iou_type].lower()}: {format_duration(expected.by_hand)} by hand,"
                f" {format_duration(expected.with_function)} to correct what scores"
                f" {result.score_threshold:g} or more: {format_duration(abs(saved))}"
                f" {'saved' if saved >= 0 else 'lost'}"
            )
    return lines


def confusion_matrix(evaluation: Evaluation) -> tuple[NDArray[np.int64], list[str]]:
    """The confusion matrix of the labels with most objects, with all others merged.

    Returns:
        The counts, and the names of the labels. Rows are the ground truth, the last one is what is nothing;
        columns are predictions, the last one is what was missed.
    """
    counts = np.array(evaluation.confusion.counts, dtype=np.int64)
    labels = list(evaluation.confusion.labels)
    if len(labels) <= MAX_CONFUSED:
        return counts, labels
    order = np.argsort(-(counts[:-1].sum(axis=1)), kind="stable")
    kept, others = order[: MAX_CONFUSED - 1], order[MAX_CONFUSED - 1 :]
    groups = [*([place] for place in kept), list(others), [len(labels)]]
    merged = np.array([[counts[np.ix_(rows, columns)].sum() for columns in groups] for rows in groups])
    return merged, [*(labels[place] for place in kept), f"{len(others)} others"]


def headline(evaluation: TaskEvaluation) -> str:
    """The predictions, the ground truth, the number of frames and the duration."""
    return (
        f"{evaluation.predictions} on {evaluation.truth}: {pluralize(evaluation.frames, 'frame')}"
        f" in {evaluation.seconds:.1f} s"
    )


def notes(evaluation: TaskEvaluation) -> list[str]:
    """Notes about what was not evaluated, and about the thresholds of a match."""
    lines = [f"not evaluated: {what} ({count})" for what, count in evaluation.left_out.items()]
    if evaluation.frame_errors:
        listed = ", ".join(map(str, sorted(evaluation.frame_errors)[:10]))
        lines.append(
            f"not evaluated: {pluralize(len(evaluation.frame_errors), 'frame')} that failed ({listed})"
        )
    if evaluation.frames_from_cache:
        frames = pluralize(evaluation.frames_from_cache, "frame was", "frames were")
        lines.append(f"{frames} detected in an earlier run")
    for result in evaluation.shapes.values():
        lines.append(
            f"match of {HEADINGS[result.iou_type].lower()}:"
            f" {'OKS' if result.iou_type == 'keypoints' else 'IoU'} of at least {result.iou_threshold:g}"
            + (f" and score of at least {result.score_threshold:g}" if result.score_threshold else "")
        )
    return lines


def plain_lines(evaluation: TaskEvaluation) -> list[str]:
    """The evaluation as plain lines, for a terminal or a log."""
    lines = [f"task {evaluation.task_id} ({evaluation.task_name!r}): {headline(evaluation)}"]
    for iou_type, result in evaluation.shapes.items():
        lines += ["", HEADINGS[iou_type], *aligned(shape_rows(result))]
        lines += detail_lines(result)
        if confusions := confusion_rows(result):
            lines += ["", f"{HEADINGS[iou_type]}: confused labels", *aligned(confusions)]
    if evaluation.tags is not None:
        lines += ["", _tags_heading(evaluation.tags), *aligned(tag_rows(evaluation.tags))]
    return [*lines, "", *notes(evaluation)]


def render_markdown(evaluation: TaskEvaluation) -> str:
    """The evaluation as Markdown, with GitHub's tables. Names are escaped."""
    name = f", {escape(evaluation.task_name)}" if evaluation.task_name else ""
    parts = [f"# [Task {evaluation.task_id}{name}](<{evaluation.url}>)", escape(headline(evaluation))]
    for iou_type, result in evaluation.shapes.items():
        parts += [f"## {HEADINGS[iou_type]}", markdown_table(shape_rows(result))]
        parts += detail_markdown(result, HEADINGS[iou_type])
        if confusions := confusion_rows(result):
            parts += [f"### {HEADINGS[iou_type]}: confused labels", markdown_table(confusions)]
    if evaluation.tags is not None:
        parts += [f"## {_tags_heading(evaluation.tags)}", markdown_table(tag_rows(evaluation.tags))]
    parts.append("\n".join(f"- {escape(note)}" for note in notes(evaluation)))
    return "\n\n".join(parts) + "\n"


def _tags_heading(tags: TagEvaluation) -> str:
    return f"Tags: exact match on {tags.accuracy:.1%} of {pluralize(tags.frames, 'frame')}"


def _counts(counts: Counts) -> Row:
    return {
        "objects": counts.truth,
        "TP": counts.true_positives,
        "FN": counts.false_negatives,
        "FP": counts.false_positives,
        "precision": decimal(counts.precision),
        "recall": decimal(counts.recall),
        "F1": decimal(counts.f1),
    }
