"""A comparison of two evaluations as tables, plain lines and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_cvat.evaluation.comparison.bootstrap import METRICS, Metric
from prefect_cvat.evaluation.comparison.differences import MIN_FRAMES, Difference, ShapeComparison
from prefect_cvat.evaluation.comparison.task_comparison import TaskComparison
from prefect_cvat.evaluation.metrics import Evaluation
from prefect_cvat.evaluation.report.detail_tables import MISTAKES
from prefect_cvat.evaluation.report.table_formats import Row, aligned, decimal, markdown_table
from prefect_cvat.evaluation.report.tables import HEADINGS, notes
from prefect_cvat.evaluation.task_evaluation import TaskEvaluation
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.rendering.run_report_markdown import escape

__all__ = [
    "LEGEND",
    "compared_mistake_rows",
    "compared_size_rows",
    "comparison_headline",
    "comparison_lines",
    "comparison_notes",
    "difference_rows",
    "frame_rows",
    "render_comparison_markdown",
    "summary_rows",
    "tag_comparison_rows",
]

METRIC_NAMES: dict[Metric, str] = {
    "ap": "AP",
    "ap50": "AP50",
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
}

MAX_FRAMES = 12
"""Maximum number of frames in a table: those with the largest differences."""

LEGEND = (
    "A positive difference is in favor of the first. 95 % of the resamples of the frames are within the"
    f" interval; * marks one without 0. A label on fewer than {MIN_FRAMES} frames has none."
)
"""How to read the tables."""


def summary_rows(comparison: ShapeComparison) -> list[Row]:
    """A row for each metric of all labels together."""
    return [
        {"metric": METRIC_NAMES[name], **_columns(difference)}
        for name, difference in comparison.overall.metrics.items()
    ]


def difference_rows(comparison: ShapeComparison, metrics: Sequence[Metric] = METRICS) -> list[Row]:
    """A row for all labels, then one for each label with differences, most objects first."""
    with_any = [
        (name, differences)
        for name, differences in comparison.by_label.items()
        if any(differences.metrics[metric].difference is not None for metric in metrics)
    ]
    by_label = sorted(with_any, key=lambda item: (-item[1].truth, item[0]))
    return [
        {
            "label": name,
            "objects": differences.truth,
            **{
                f"{METRIC_NAMES[metric]} difference": _with_interval(differences.metrics[metric])
                for metric in metrics
            },
        }
        for name, differences in [("all", comparison.overall), *by_label]
    ]


def frame_rows(comparison: ShapeComparison) -> list[Row]:
    """A row for each of the frames on which they differ most."""
    return [
        {
            "frame": str(each.frame),
            "found only by the first": each.only_first,
            "only by the second": each.only_second,
            "false positives of the first": each.first_false_positives,
            "of the second": each.second_false_positives,
        }
        for each in comparison.frames[:MAX_FRAMES]
    ]


def compared_mistake_rows(first: Evaluation, second: Evaluation) -> list[Row]:
    """A row for each kind of mistake of two evaluations."""
    return [
        {
            "mistake": f"{name}: {MISTAKES[name]}",
            "first": kind.count,
            "second": second.mistakes.kinds[name].count,
            "dAP of the first": decimal(kind.ap_gain),
            "of the second": decimal(second.mistakes.kinds[name].ap_gain),
        }
        for name, kind in first.mistakes.kinds.items()
    ]


def compared_size_rows(first: Evaluation, second: Evaluation) -> list[Row]:
    """A row for each size of objects, and one for the calibration error, of two evaluations."""
    sizes: list[Row] = [
        {
            "metric": f"AP {name} ({pluralize(size.truth, 'object')})",
            "first": decimal(size.ap),
            "second": decimal(second.by_size[name].ap),
        }
        for name, size in first.by_size.items()
    ]
    errors = (decimal(first.calibration_error), decimal(second.calibration_error))
    return [*sizes, {"metric": "expected calibration error", "first": errors[0], "second": errors[1]}]


def tag_comparison_rows(comparison: TaskComparison) -> list[Row]:
    """The accuracy of tags, then the F1 of each label; none if tags were not evaluated on both sides."""
    first, second = comparison.first.tags, comparison.second.tags
    if first is None or second is None:
        return []
    pairs: list[tuple[str, float | None, float | None]] = [("exact match", first.accuracy, second.accuracy)]
    for name in sorted({*first.by_label, *second.by_label}):
        one, other = (each.by_label[name].f1 if name in each.by_label else None for each in (first, second))
        pairs.append((f"F1 of {name}", one, other))
    return [{"metric": name, "first": decimal(one), "second": decimal(other)} for name, one, other in pairs]


def comparison_headline(comparison: TaskComparison) -> str:
    """The predictions, the ground truth, the number of frames and the duration."""
    first, second = comparison.first, comparison.second
    return (
        f"{first.predictions} (first) against {second.predictions} (second) on {first.truth}:"
        f" {pluralize(first.frames, 'frame')} in {second.seconds:.1f} s"
    )


def comparison_notes(comparison: TaskComparison) -> list[str]:
    """What was not evaluated, which labels only one of them has, and how intervals are computed."""
    lines = notes(comparison.first)
    lines += [note for note in notes(comparison.second) if note not in lines]
    for one, other in ((comparison.first, comparison.second), (comparison.second, comparison.first)):
        if missing := _labels_only_of(one, other):
            lines.append(f"{other.predictions} does not have {missing}; its objects count as missed")
    lines += [
        f"intervals of {HEADINGS[iou_type].lower()}: {pluralize(shapes.resamples, 'resample')} of the frames,"
        f" seed {shapes.seed}"
        for iou_type, shapes in comparison.shapes.items()
    ]
    return lines


def _tables(
    comparison: TaskComparison, shapes: ShapeComparison, by_label: list[Row]
) -> list[tuple[str, list[Row]]]:
    """The tables below the summary, with their titles; without empty ones."""
    first, second = (each.shapes[shapes.iou_type] for each in (comparison.first, comparison.second))
    tables = [
        ("differences by label", by_label),
        ("mistakes by kind", compared_mistake_rows(first, second)),
        ("sizes and calibration", compared_size_rows(first, second)),
        ("frames that differ most", frame_rows(shapes)),
    ]
    return [(title, rows) for title, rows in tables if rows]


def comparison_lines(comparison: TaskComparison) -> list[str]:
    """The comparison as plain lines, for a terminal or a log."""
    first = comparison.first
    lines = [f"task {first.task_id} ({first.task_name!r}): {comparison_headline(comparison)}"]
    for iou_type, shapes in comparison.shapes.items():
        heading = HEADINGS[iou_type]
        lines += ["", heading, *aligned(summary_rows(shapes))]
        for title, rows in _tables(comparison, shapes, difference_rows(shapes, ("ap", "f1"))):
            lines += ["", f"{heading}: {title}", *aligned(rows)]
    if rows := tag_comparison_rows(comparison):
        lines += ["", "Tags", *aligned(rows)]
    return [*lines, "", LEGEND, *comparison_notes(comparison)]


def render_comparison_markdown(comparison: TaskComparison) -> str:
    """The comparison as Markdown, with GitHub's tables. Names are escaped."""
    first = comparison.first
    name = f", {escape(first.task_name)}" if first.task_name else ""
    parts = [f"# [Task {first.task_id}{name}](<{first.url}>)", escape(comparison_headline(comparison))]
    for iou_type, shapes in comparison.shapes.items():
        heading = HEADINGS[iou_type]
        parts += [f"## {heading}", markdown_table(summary_rows(shapes)), LEGEND.replace("*", "\\*")]
        for title, rows in _tables(comparison, shapes, difference_rows(shapes)):
            parts += [f"### {heading}: {title}", markdown_table(rows)]
    if rows := tag_comparison_rows(comparison):
        parts += ["## Tags", markdown_table(rows)]
    parts.append("\n".join(f"- {escape(note)}" for note in comparison_notes(comparison)))
    return "\n\n".join(parts) + "\n"


def _columns(difference: Difference) -> Row:
    return {
        "first": decimal(difference.first),
        "second": decimal(difference.second),
        "difference": _signed(difference.difference),
        "95 % interval": _interval(difference),
    }


def _with_interval(difference: Difference) -> str:
    return f"{_signed(difference.difference)} {_interval(difference)}".removesuffix(" -")


def _interval(difference: Difference) -> str:
    if difference.low is None or difference.high is None:
        return "-"
    return f"[{difference.low:+.3f}, {difference.high:+.3f}]{' *' if difference.is_clear else ''}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3f}"


def _labels_only_of(one: TaskEvaluation, other: TaskEvaluation) -> str:
    """The labels with ground truth that only one of two functions has."""
    if other.function_labels is None:
        return ""
    names = {label.id: label.name for label in other.info.labels}
    known = {names[label_id] for label_id in other.function_labels.values()}
    truth: Sequence[str] = [
        name
        for result in one.shapes.values()
        for name, label in result.by_label.items()
        if label.truth and name not in known
    ]
    return ", ".join(f"label {name!r}" for name in dict.fromkeys(truth))
