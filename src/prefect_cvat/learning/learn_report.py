"""The report of what was learned from the corrections of a task."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.export.export_report import ExportReport
from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.plurals import format_counts, pluralize
from prefect_cvat.review.learned import LearnedFunction

__all__ = ["LearnReport", "describe"]

MAX_CONFUSIONS = 10
"""Maximum number of confusions that `describe` lists."""


class LearnReport(BaseModel):
    """What was learned from the corrections of a task.

    Attributes:
        task_id: The id of the task.
        task_name: Its name.
        url: Its address in CVAT.
        place: What it is learned for, such as `project 7`; a task without a project learns for itself.
        frames: Number of frames that somebody has looked at.
        frames_processed: Number of frames that a run has processed.
        corrections: Number of annotations on these frames, by kind: `confirmed`, `moved`, `relabelled`,
            `deleted`, `drawn`.
        without_score: Number of annotations of runs without a score: nothing is learned from them.
        of_no_run: Number of automatic annotations of no recorded run: likewise.
        functions: What is known now about each function of the task, from all tasks of the project.
        exported: The export of the corrected frames, if there is one.
        unknown: What is not known about the corrections, and why.
        dry_run: Whether nothing was kept.
    """

    model_config = ConfigDict(extra="forbid")

    task_id: int
    task_name: str
    url: str
    place: str
    frames: int
    frames_processed: int
    corrections: dict[str, int]
    without_score: int = 0
    of_no_run: int = 0
    functions: dict[str, LearnedFunction] = Field(default_factory=dict)
    exported: ExportReport | None = None
    unknown: list[str] = Field(default_factory=list)
    dry_run: bool = False

    @property
    def headline(self) -> str:
        """The result in a few words."""
        return (
            f"learned from {pluralize(sum(self.corrections.values()), 'annotation')} on"
            f" {pluralize(self.frames, 'corrected frame')} for {self.place}"
        )

    def lines(self) -> list[str]:
        """The report as lines for a terminal or a log."""
        kept = " (dry run: nothing is kept)" * self.dry_run
        lines = [
            f"task {self.task_id} ({self.task_name!r}) at {self.url}",
            f"{self.headline}{kept}",
            f"somebody has looked at {self.frames} of {pluralize(self.frames_processed, 'frame')}",
            f"annotations: {format_counts(self.corrections)}",
        ]
        if self.without_score:
            lines.append(f"without a score, nothing is learned from them: {self.without_score}")
        if self.of_no_run:
            lines.append(f"of no recorded run, nothing is learned from them: {self.of_no_run}")
        for name, learned in self.functions.items():
            lines += [f"{name}:", *(f"  {line}" for line in describe(learned))]
        lines += [f"not known: {reason}" for reason in self.unknown]
        if self.exported is not None:
            lines += self.exported.lines()[1:]
        return lines


def describe(learned: LearnedFunction) -> list[str]:
    """What was learned about a function, in lines."""
    lines = [
        f"{learned.right} of {pluralize(learned.shapes, 'shape')} right;"
        f" {learned.missed_per_frame:.2f} objects missed on a frame",
    ]
    if learned.shapes:
        judge = learned.calibration.of_labels({}).at_typical_size
        at = ", ".join(f"{judge(0, score):.0%} at {score}" for score in (0.3, 0.5, 0.7, 0.9))
        lines.append(f"right by score: {at}")
    if learned.thresholds:
        by_label = ", ".join(f"{name} {threshold:g}" for name, threshold in learned.thresholds.items())
        lines.append(f"thresholds ({argument('label_thresholds')}): {by_label}")
    lines += [
        f"written as {each.written}, changed to {each.corrected}: {pluralize(each.count, 'time')}"
        for each in learned.confusions[:MAX_CONFUSIONS]
    ]
    if learned.label_map:
        pairs = ", ".join(f"{name} to {target}" for name, target in learned.label_map.items())
        lines.append(f"label map ({argument('label_map')}), as people mostly change it: {pairs}")
    return lines
