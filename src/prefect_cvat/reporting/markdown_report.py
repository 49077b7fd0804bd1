"""A run's report as Markdown, as Prefect's pages show it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.review.score_histogram import SCORE_BINS
from prefect_cvat.runs.report import RunReport

__all__ = ["Outcome", "escape", "render_markdown", "task_link"]

Outcome = Literal["completed", "failed", "cancelled"]
"""How a run ended."""

MOST_LISTED = 20
"""How many failed frames, and how many labels without a place in the task, are listed."""

BAR = 30
"""Characters of the longest bar."""

_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

Row = tuple[object, ...]


def render_markdown(report: RunReport, outcome: Outcome = "completed", error: str | None = None) -> str:
    """Put a report as Markdown, with tables as GitHub has them.

    Args:
        report: What the run did; of one that did not complete, what it did until then.
        outcome: How it ended.
        error: What went wrong.

    Returns:
        Markdown in which no name and no error acts as Markdown or HTML; nothing empty stands in it. (Pages
        that make links of all addresses make them of those in names, too.)
    """
    parts = [
        f"# {task_link(report)}",
        *_outcome(report, outcome, error),
        *_table("Annotations", ("label", "annotations", "tracks"), _label_rows(report)),
        *_unmatched(report.unmatched_labels),
        *_table("Look at these first", ("frame", "expected corrections", "why"), _review_rows(report)),
        *_issues(report),
        *_table("On the server", ("", "annotations"), _server_rows(report)),
        *_table("Tracks", ("", ""), _track_rows(report)),
        *_table("Shapes", ("", "shapes"), _shape_rows(report)),
        *_table("Shapes not followed", ("why", "shapes"), _count_rows(report.seeds_left_out)),
        *_table("Frames left out", ("why", "frames"), _count_rows(report.left_out)),
        *_table("Failed frames", ("frame", "error"), _failed_rows(report)),
        *_table("Time", ("stage", "seconds"), _time_rows(report)),
        *_table("Provenance", ("", ""), _provenance_rows(report)),
        *_table("Scores", ("score", "annotations", ""), _score_rows(report)),
    ]
    return "\n\n".join(parts) + "\n"


def task_link(report: RunReport) -> str:
    """The task of a report, with a link to it, and its name."""
    # Prefect 3.9 shows backslashes in the text of a link, so the name stands behind it
    name = f", {escape(report.task_name)}" if report.task_name else ""
    return f"[Task {report.task_id}](<{report.url}>){name}"


def escape(text: str) -> str:
    """Put plain text so that Markdown shows it as it is, in one line."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(text.split()))


def _outcome(report: RunReport, outcome: Outcome, error: str | None) -> list[str]:
    done = (
        f"**{outcome.capitalize()}**: {pluralize(report.frames, 'frame')} in {report.seconds:.1f} s"
        f" ({report.frames_per_second:.1f} frames per second) by {escape(report.function)}."
    )
    if report.frames_from_cache:
        of_them = pluralize(report.frames_from_cache, "of them was", "of them were")
        done += f" {of_them} detected in an earlier run."
    if report.not_kept:
        done += f" Detections are not kept for later runs: {escape(report.not_kept)}."
    parts = [done]
    if report.nothing_to_do:
        parts.append(f"Nothing to do: {escape(report.nothing_to_do)}.")
    if error:
        parts.append(f"> {escape(error)}")
    if outcome != "completed" and report.added:
        is_or_are = "is" if report.added == 1 else "are"
        parts.append(
            f"{pluralize(report.added, 'annotation')} that this run has added {is_or_are} on the server."
            " Running it again completes it, and adds nothing twice."
        )
    elif outcome != "completed" and not report.unsettled:
        parts.append("Nothing that this run has added is on the server. It can be run again.")
    elif outcome != "completed":
        parts.append("It is not known whether what was sent has arrived. Run it again.")
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
    listed = ", ".join(escape(name) for name in labels[:MOST_LISTED])
    more = f" and {len(labels) - MOST_LISTED} more" if len(labels) > MOST_LISTED else ""
    return [f"What the function also finds, and the task has no label for: {listed}{more}."]


def _review_rows(report: RunReport) -> list[Row]:
    return [
        (
            f"[{item.frame}](<{item.url}>)",
            f"{item.expected_work:.2f}",
            escape("; ".join(item.reasons)),
        )
        for item in report.review
    ]


def _issues(report: RunReport) -> list[str]:
    parts = []
    if report.issues_opened or report.issues_already_there:
        there = f"; {report.issues_already_there} were there already" if report.issues_already_there else ""
        parts.append(f"Issues opened in CVAT: {report.issues_opened}{there}.")
    if report.issues_failed:
        parts.append(f"Issues that were not opened: {escape(report.issues_failed)}")
    return parts


def _server_rows(report: RunReport) -> list[Row]:
    return _present(
        ("added", report.added),
        ("there already", report.already_there),
        ("removed", report.removed),
        ("not removed: drawn or changed by somebody meanwhile", report.changed),
        ("not removed: what takes their place is missing", report.not_replaced),
        ("**missing**, though sent again", report.missing),
        ("**there twice**: another run has added the same", report.doubled_by_others),
        ("**sent, and perhaps still to arrive**", report.unsettled),
    )


def _track_rows(report: RunReport) -> list[Row]:
    count = sum(report.tracks.values())
    return _present(
        ("frames that one is long on average", report.track_frames / count if count else 0),
        ("keyframes of all", report.keyframes),
        ("shapes that were followed", report.seeds),
        ("times that one was lost", report.lost),
    )


def _shape_rows(report: RunReport) -> list[Row]:
    return _present(
        ("refined", report.refined),
        ("not refined: nothing was found for them", report.not_refined),
        ("cut at the edge of their image", report.clipped),
        ("corners put in order", report.reordered),
        ("left out: outside their image", report.outside),
        ("left out: empty", report.empty_shapes),
        ("left out: below their threshold", report.below_threshold),
        ("left out: annotated already", report.overlapping_existing),
        ("left out: in no track", report.untracked),
        *(
            (f"left out: the task has no label {escape(name)}", count)
            for name, count in _most_first(report.unmatched)
        ),
    )


def _count_rows(counts: Mapping[str, int]) -> list[Row]:
    return _present(*((escape(name), count) for name, count in _most_first(counts)))


def _failed_rows(report: RunReport) -> list[Row]:
    failed = report.failed_frames
    rows: list[Row] = [(str(frame), escape(failed[frame])) for frame in sorted(failed)[:MOST_LISTED]]
    if (count := max(report.failed, len(failed))) > MOST_LISTED:
        rows.append(("...", f"{count} frames have failed in all"))
    return rows


def _time_rows(report: RunReport) -> list[Row]:
    rows: list[Row] = [(escape(stage), seconds) for stage, seconds in report.stage_seconds.items()]
    return [*rows, ("**the run**, in which stages overlap", report.seconds)] if rows else []


def _provenance_rows(report: RunReport) -> list[Row]:
    made_by = report.provenance
    if made_by is None:
        return []
    told: dict[str, object] = {
        "run": report.run,
        "function": made_by.function,
        "its version": made_by.function_version,
        **{f"its parameter {name}": value for name, value in (made_by.function_parameters or {}).items()},
        "least score": made_by.conf_threshold,
        **{f"least score of {name}": value for name, value in made_by.label_thresholds.items()},
        **{f"label {name}": target or "dropped" for name, target in made_by.labels.items() if target != name},
        "masks": "became polygons" if made_by.conv_mask_to_poly else None,
        "images": made_by.quality,
        **{f"its option {name}": value for name, value in made_by.options.items()},
        "frames": "only those without annotations" if made_by.unannotated else None,
        "what was there": made_by.existing,
        "left out from this IoU with existing annotations": made_by.skip_existing_iou,
        "existing annotations that count": made_by.skip_existing_source
        if made_by.skip_existing_iou
        else None,
        "prefect-cvat": made_by.prefect_cvat,
    }
    return [(escape(name), escape(str(value))) for name, value in told.items() if value not in (None, "")]


def _score_rows(report: RunReport) -> list[Row]:
    if not report.scores:
        return []
    counts = [sum(of_range) for of_range in zip(*report.scores.values(), strict=True)]
    seen = [number for number, count in enumerate(counts) if count]
    rows: list[Row] = [
        (
            f"{number / SCORE_BINS:.2f} to {(number + 1) / SCORE_BINS:.2f}",
            counts[number],
            "█" * round(BAR * counts[number] / max(counts)),
        )
        for number in range(seen[0], seen[-1] + 1)
    ]
    return [*rows, ("none", report.without_score, "")] if report.without_score else rows


def _present(*rows: tuple[str, int | float]) -> list[Row]:
    """The rows that say something."""
    return [row for row in rows if row[1]]


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _table(heading: str, columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """A table under a heading, numbers to the right; nothing if it has no rows."""
    if not rows:
        return []
    is_number = [isinstance(cell, int | float) for cell in rows[0]]
    lines = [
        columns[: len(is_number)],
        ["--:" if right else "---" for right in is_number],
        *([f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows),
    ]
    return [f"## {heading}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
