"""Average precision by size, mistakes by kind, and calibration, as tables."""

from __future__ import annotations

from prefect_cvat.evaluation.metrics import Evaluation, LabelEvaluation
from prefect_cvat.evaluation.report.table_formats import Row, aligned, decimal, markdown_table

__all__ = [
    "calibration_rows",
    "detail_lines",
    "detail_markdown",
    "gain_note",
    "mistake_rows",
    "mistakes_by_label_rows",
    "size_rows",
]

MISTAKES = {
    "classification": "right place, wrong label",
    "localization": "right label, wrong place",
    "both": "wrong label and place",
    "duplicate": "object already found",
    "background": "no object there",
    "missed": "object not found",
}
"""What the kinds of mistakes mean."""


def size_rows(evaluation: Evaluation) -> list[Row]:
    """A row for all labels, then one for each label with objects, most objects first."""
    with_objects = [(name, label) for name, label in evaluation.by_label.items() if label.truth]
    by_label = sorted(with_objects, key=lambda item: (-item[1].truth, item[0]))
    rows: list[tuple[str, Evaluation | LabelEvaluation]] = [("all", evaluation), *by_label]
    return [
        {
            "label": name,
            **{
                column: value
                for size, on_size in measured.by_size.items()
                for column, value in ((f"AP {size}", decimal(on_size.ap)), (f"{size} objects", on_size.truth))
            },
        }
        for name, measured in (rows if len(by_label) != 1 else by_label)
    ]


def gain_note(evaluation: Evaluation) -> str:
    """What the column `dAP` of `mistake_rows` means."""
    overlap = "OKS" if evaluation.iou_type == "keypoints" else "IoU"
    ap = decimal(evaluation.mistakes.ap)
    return (
        f"dAP: how much AP {ap} at {overlap} {evaluation.iou_threshold:g} would rise without these mistakes"
    )


def mistake_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each kind of mistake, then one for all false positives and one for all false negatives."""
    mistakes = evaluation.mistakes
    totals = {
        "all false positives": mistakes.false_positives,
        "all false negatives": mistakes.false_negatives,
    }
    named = {f"{name}: {MISTAKES[name]}": kind for name, kind in mistakes.kinds.items()}
    return [
        {"mistake": name, "count": mistake.count, "dAP": decimal(mistake.ap_gain)}
        for name, mistake in {**named, **totals}.items()
    ]


def mistakes_by_label_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each label with mistakes, most mistakes first."""
    by_label = sorted(
        evaluation.mistakes.by_label.items(), key=lambda item: (-sum(item[1].values()), item[0])
    )
    return [
        {"label": name, **{str(kind): count for kind, count in counts.items()}} for name, counts in by_label
    ]


def calibration_rows(evaluation: Evaluation) -> list[Row]:
    """A row for each bin of scores with predictions; none if there are no scores from 0 to 1."""
    if evaluation.calibration is None:
        return []
    return [
        {
            "score": f"{each.lowest:.1f} to {each.highest:.1f}",
            "predictions": each.count,
            "mean score": decimal(each.mean_score),
            "precision": decimal(each.precision),
        }
        for each in evaluation.calibration.bins
    ]


def detail_lines(evaluation: Evaluation) -> list[str]:
    """Sizes and mistakes of all labels together, and the calibration error, as plain lines."""
    return [
        "",
        f"  mistakes by kind; {gain_note(evaluation)}",
        *aligned(mistake_rows(evaluation)),
        "",
        *aligned(size_rows(evaluation)[:1]),
        "",
        f"  expected calibration error of the scores: {decimal(evaluation.calibration_error)}",
    ]


def detail_markdown(evaluation: Evaluation, heading: str) -> list[str]:
    """All of it as Markdown.

    Args:
        evaluation: The evaluation.
        heading: What was evaluated, such as `Boxes`.
    """
    parts = [
        f"### {heading}: mistakes by kind",
        markdown_table(mistake_rows(evaluation)),
        gain_note(evaluation),
        f"### {heading}: average precision by size",
        markdown_table(size_rows(evaluation)),
    ]
    if rows := calibration_rows(evaluation):
        error = decimal(evaluation.calibration_error)
        parts += [
            f"### {heading}: precision by score",
            markdown_table(rows),
            f"Expected calibration error: {error}",
        ]
    return parts
