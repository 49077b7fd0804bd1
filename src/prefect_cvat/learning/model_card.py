"""The card of an exported data set of corrected frames: where its annotations come from, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_cvat.learning.learn_report import LearnReport, describe
from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.records.record_writer import RecordHeader
from prefect_cvat.rendering.run_report_markdown import escape

__all__ = ["CARD", "render_card"]

CARD = "MODEL_CARD.md"
"""The name of the file in the folder of the export."""

KINDS = {
    "confirmed": "unchanged, on a frame that somebody has looked at",
    "moved": "outline changed",
    "relabelled": "label changed",
    "deleted": "deleted",
    "drawn": "drawn by people",
}


def render_card(report: LearnReport, headers: Sequence[RecordHeader], frames: NumberRanges) -> str:
    """Describe what a model that is trained on the corrected frames learns from.

    Args:
        report: What was learned.
        headers: The headers of the records of the runs on the task.
        frames: The corrected frames.
    """
    lines = [
        f"# Corrected frames of task {report.task_id}: {escape(report.task_name)}",
        "",
        f"{pluralize(report.frames, 'frame')} of <{report.url}> that people have looked at, of"
        f" {report.frames_processed} that a function has annotated: frames {frames.describe(len(frames))}.",
        "The annotations are those of the task after the correction, by people and by functions.",
        "",
        "## Corrections",
        "",
        "| annotations | number |",
        "|---|---|",
        *(f"| {what} | {report.corrections.get(kind, 0)} |" for kind, what in KINDS.items()),
        "",
        "## Functions",
        "",
        "| run | started | function | version | confidence threshold |",
        "|---|---|---|---|---|",
        *(_row(header) for header in headers),
        "",
    ]
    for name, learned in report.functions.items():
        lines += [f"### {escape(name)}", "", *(f"- {escape(line)}" for line in describe(learned)), ""]
    lines += ["## Limits", "", *(f"- {reason}" for reason in [*LIMITS, *map(escape, report.unknown)]), ""]
    return "\n".join(lines)


LIMITS = (
    "People who correct see what the function has found: what it misses, they miss more often too.",
    "The corrected frames may be those that were proposed for review, so they are no random sample.",
    "Measure a model that is trained on these frames on others.",
)


def _row(header: RecordHeader) -> str:
    by = header.provenance
    thresholds = [] if by.conf_threshold is None else [f"{by.conf_threshold:g}"]
    thresholds += [f"{name} {threshold:g}" for name, threshold in by.label_thresholds.items()]
    cells = (
        header.run,
        f"{header.started:%Y-%m-%d %H:%M} UTC",
        escape(by.function),
        escape(by.version or "unknown"),
        escape(", ".join(thresholds)) or "that of the function",
    )
    return f"| {' | '.join(cells)} |"
