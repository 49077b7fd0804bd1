"""The report of a run as Markdown, for artifacts in Prefect."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.review.score_histogram import SCORE_BINS
from prefect_cvat.runs.reports.report_model import RunReport, cached_frames

__all__ = ["Outcome", "escape", "render_markdown", "task_link"]

Outcome = Literal["completed", "failed", "cancelled"]
"""How a run ended."""

MAX_LISTED = 20
"""Maximum number of failed frames, and of unmatched labels, that are listed."""

BAR_LENGTH = 30
"""Characters of the longest bar of the score histogram."""

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

Row = tuple[object, ...]


def render_markdown(report: RunReport, outcome: Outcome = "completed", error: str | None = None) -> str:
    """Render a report as Markdown with GitHub's tables. Empty sections are left out.

    Args:
        report: The report of the run, also if it did not complete.
        outcome: How the run ended.
        error: The message of the error, if it failed.

    Returns:
        Markdown. Names and errors are escaped. (A page that turns all URLs into links does so in names, too.)
    """
    parts = [
        f"# {task_link(report)}",
        *_outcome(report, outcome, error),
        *_table("Annotations", ("label", "annotations", "tracks"), _label_rows(report)),
        *_unmatched(report.unmatched_labels),
        *_table("Frames to review first", ("frame", "expected corrections", "reasons"), _review_rows(report)),
        *_issues(report),
        *_table("On the server", ("", "annotations"), _server_rows(report)),
        *_table("Tracks", ("", ""), _track_rows(report)),
        *_table("Shapes", ("", "shapes"), _shape_rows(report)),
        *_table("Shapes not tracked", ("reason", "shapes"), _count_rows(report.source_shapes_left_out)),
        *_table("Frames left out", ("reason", "frames"), _count_rows(report.left_out)),
        *_table("Failed frames", ("frame", "error"), _failed_rows(report)),
        *_table("Time", ("stage", "seconds"), _time_rows(report)),
        *_table("Provenance", ("", ""), _provenance_rows(report)),
        *_table("Scores", ("score", "annotations", ""), _score_rows(report)),
    ]
    return "\n\n".join(parts) + "\n"


def task_link(report: RunReport) -> str:
    """A link to the task of a report, and its name."""
    # Prefect 3.9 shows backslashes in the text of a link, so the name follows the link
    name = f", {escape(report.task_name)}" if report.task_name else ""
    return f"[Task {report.task_id}](<{report.url}>){name}"


def escape(text: str) -> str:
    """Escape plain text so that Markdown shows it unchanged, on one line."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def _outcome(report: RunReport, outcome: Outcome, error: str | None) -> list[str]:
    done = (
        f"**{outcome.capitalize()}**: {pluralize(report.frames, 'frame')} in {report.seconds:.1f} s"
        f" ({report.frames_per_second:.1f} frames per second) by {escape(report.function)}."
    )
    if report.frames_from_cache:
        done += f" {cached_frames(report.frames_from_cache)}."
    if report.not_kept:
        done += f" Detections are not cached: {escape(report.not_kept)}."
    parts = [done]
    if report.nothing_to_do:
        parts.append(f"Nothing to do: {escape(report.nothing_to_do)}.")
    if error:
        parts.append(f"> {escape(error)}")
    if outcome != "completed" and report.added:
        is_or_are = "is" if report.added == 1 else "are"
        parts.append(
            f"{pluralize(report.added, 'annotation')} added by this run {is_or_are} on the server."
            " Run it again to complete it; nothing is added twice."
        )
    elif outcome != "completed" and not report.unsettled:
        parts.append("No annotations of this run are on the server. It can be run again.")
    elif outcome != "completed":
        parts.append("It is unknown whether the annotations that were sent are on the server. Run it again.")
    return parts


def _label_rows(report: RunReport) -> list[Row]:
    names = [name for name, _ in _most_first(report.labels)]
    names += [name for name in report.tracks if name not in report.labels]
    columns = [report.labels, report.tracks] if report.tracks else [report.labels]
    rows: list[Row] = [(escape(name), *(counts.get(name, 0) for counts in columns)) for name in names]
    if len(rows) > 1:
        rows.append(("**all**", *(sum(counts.values()) for counts in columns)))
    return rows


def _unmatched(labels: Sequence[str]) -> list[str]:
    if not labels:
        return []
    listed = ", ".join(escape(name) for name in labels[:MAX_LISTED])
    more = f" and {len(labels) - MAX_LISTED} more" if len(labels) > MAX_LISTED else ""
    return [f"Labels of the function that the task does not have: {listed}{more}."]


def _review_rows(report: RunReport) -> list[Row]:
    return [
        (
            f"[{item.frame}](<{item.url}>)",
            f"{item.expected_corrections:.2f}",
            escape("; ".join(item.reasons)),
        )
        for item in report.review
    ]


def _issues(report: RunReport) -> list[str]:
    parts = []
    if report.issues_opened or report.issues_already_there:
        existing = f"; {report.issues_already_there} existed already" if report.issues_already_there else ""
        parts.append(f"Issues opened in CVAT: {report.issues_opened}{existing}.")
    if report.issues_failed:
        parts.append(f"Issues not opened: {escape(report.issues_failed)}")
    return parts


def _server_rows(report: RunReport) -> list[Row]:
    return _present(
        ("added", report.added),
        ("already present", report.already_there),
        ("removed", report.removed),
        ("not removed: drawn or changed by somebody during the run", report.changed),
        ("not removed: their replacements are missing", report.not_replaced),
        ("**missing** after a second attempt", report.missing),
        ("**duplicated**: another run added the same", report.doubled_by_others),
        ("**sent, with unknown result**", report.unsettled),
    )


def _track_rows(report: RunReport) -> list[Row]:
    count = sum(report.tracks.values())
    return _present(
        ("mean length in frames", report.track_frames / count if count else 0),
        ("keyframes", report.keyframes),
        ("source shapes tracked", report.source_shapes),
        ("times lost", report.lost),
    )


def _shape_rows(report: RunReport) -> list[Row]:
    return _present(
        ("refined", report.refined),
        ("not refined: the function found nothing", report.not_refined),
        ("clipped at the edge of the image", report.clipped),
        ("corners reordered", report.reordered),
        ("left out: outside the image", report.outside),
        ("left out: empty", report.empty_shapes),
        ("left out: below the score threshold", report.below_threshold),
        ("left out: annotated already", report.overlapping_existing),
        ("left out: not in a track", report.untracked),
        *(
            (f"left out: the task has no label {escape(name)}", count)
            for name, count in _most_first(report.unmatched)
        ),
    )


def _count_rows(counts: Mapping[str, int]) -> list[Row]:
    return _present(*((escape(name), count) for name, count in _most_first(counts)))


def _failed_rows(report: RunReport) -> list[Row]:
    failed = report.frame_errors
    rows: list[Row] = [(str(frame), escape(failed[frame])) for frame in sorted(failed)[:MAX_LISTED]]
    if (count := max(report.frames_failed, len(failed))) > MAX_LISTED:
        rows.append(("...", f"{count} frames failed in total"))
    return rows


def _time_rows(report: RunReport) -> list[Row]:
    rows: list[Row] = [(escape(stage), seconds) for stage, seconds in report.stage_seconds.items()]
    return [*rows, ("**the run** (stages overlap)", report.seconds)] if rows else []


def _provenance_rows(report: RunReport) -> list[Row]:
    made_by = report.provenance
    if made_by is None:
        return []
    fields: dict[str, object] = {
        "run": report.run,
        "function": made_by.function,
        "function version": made_by.function_version,
        **{
            f"function parameter {name}": value for name, value in (made_by.function_parameters or {}).items()
        },
        **{f"prompt of {name}": _words(words) for name, words in (made_by.prompts or {}).items()},
        "confidence threshold": made_by.conf_threshold,
        **{f"confidence threshold of {name}": value for name, value in made_by.label_thresholds.items()},
        **{f"label {name}": target or "dropped" for name, target in made_by.labels.items() if target != name},
        "masks": "converted to polygons" if made_by.conv_mask_to_poly else None,
        "images": made_by.quality,
        **{f"option {name}": value for name, value in made_by.options.items()},
        "frames": "only those without annotations" if made_by.unannotated else None,
        "existing annotations": made_by.existing,
        "minimum IoU with existing annotations to be left out": made_by.skip_existing_iou,
        "existing annotations compared with": made_by.skip_existing_source
        if made_by.skip_existing_iou
        else None,
        "prefect-cvat": made_by.prefect_cvat,
    }
    return [(escape(name), escape(str(value))) for name, value in fields.items() if value not in (None, "")]


def _words(prompt: str | list[str] | None) -> str:
    if prompt is None:
        return "left out"
    return prompt if isinstance(prompt, str) else "; ".join(prompt)


def _score_rows(report: RunReport) -> list[Row]:
    if not report.scores:
        return []
    counts = [sum(of_range) for of_range in zip(*report.scores.values(), strict=True)]
    seen = [number for number, count in enumerate(counts) if count]
    rows: list[Row] = [
        (
            f"{number / SCORE_BINS:.2f} to {(number + 1) / SCORE_BINS:.2f}",
            counts[number],
            "█" * round(BAR_LENGTH * counts[number] / max(counts)),
        )
        for number in range(seen[0], seen[-1] + 1)
    ]
    return [*rows, ("none", report.without_score, "")] if report.without_score else rows


def _present(*rows: tuple[str, int | float]) -> list[Row]:
    """The rows with a number other than 0."""
    return [row for row in rows if row[1]]


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _table(heading: str, columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """A table under a heading, with numbers aligned to the right; nothing if it has no rows."""
    if not rows:
        return []
    is_number = [isinstance(cell, int | float) for cell in rows[0]]
    lines = [
        columns[: len(is_number)],
        ["--:" if right else "---" for right in is_number],
        *([f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows),
    ]
    return [f"## {heading}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
