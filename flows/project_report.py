"""The report of a run on a project, and its artifact in Prefect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for
from pydantic import BaseModel, Field

from prefect_cvat.corrections import SavedTime
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.messages.plurals import format_duration
from prefect_cvat.rendering.run_report_markdown import escape

__all__ = ["Outcome", "ProjectReport", "TaskOutcome", "publish_project_report"]

Outcome = Literal["failed", "completed", "left out", "already annotated"]

MAX_ROWS = 2000
"""Maximum number of rows of the table in Prefect's pages."""

_ORDER: tuple[Outcome, ...] = ("failed", "completed", "left out", "already annotated")


class TaskOutcome(BaseModel):
    """What a run on a project has done with a task, or with some of its jobs.

    Attributes:
        name: The task, such as `task 42` or `task 42, jobs 7-9`.
        task_id: The id of the task.
        outcome: Whether a run failed or completed, the task could not be annotated, or was annotated earlier.
        message: What the run has done, or why it failed, or why the task was left out.
        run: The id of the flow run, if there is one.
    """

    name: str
    task_id: int
    outcome: Outcome
    message: str = ""
    run: UUID | None = None


class ProjectReport(BaseModel):
    """The report of a run on a project.

    Attributes:
        url: The address of the CVAT server.
        tasks: The outcomes, in the order in which they were known.
        history_unknown: Messages that say why it is not known what earlier runs have annotated.
        saved: What earlier runs have saved the people who correct the tasks, if that was asked for.
        saved_unknown: Why that is not known; else empty.
    """

    url: str
    tasks: list[TaskOutcome] = Field(default_factory=list)
    history_unknown: list[str] = Field(default_factory=list)
    saved: SavedTime | None = None
    saved_unknown: str = ""

    @property
    def completed(self) -> list[str]:
        """The names of the tasks, or jobs, of completed runs."""
        return [task.name for task in self._of("completed")]

    @property
    def failed(self) -> dict[str, str]:
        """The names of the tasks, or jobs, of other runs, with the messages of their final states."""
        return {task.name: task.message for task in self._of("failed")}

    @property
    def already_annotated(self) -> list[str]:
        """The names of the tasks, or jobs, that earlier runs have annotated."""
        return [task.name for task in self._of("already annotated")]

    @property
    def left_out(self) -> list[str]:
        """Messages that say why tasks cannot be annotated."""
        return [task.message for task in self._of("left out")]

    def add(
        self, name: str, task_id: int, outcome: Outcome, message: str = "", run: UUID | None = None
    ) -> None:
        """Add an outcome; of a message only the first line is kept, as the run itself shows all of it."""
        line = one_line(message.partition("\n")[0])
        self.tasks.append(TaskOutcome(name=name, task_id=task_id, outcome=outcome, message=line, run=run))

    def lines(self) -> list[str]:
        """The report as plain lines, for a log."""
        return [
            f"{len(self.completed)} runs completed, {len(self.failed)} failed;"
            f" {len(self.already_annotated)} were not needed, as earlier runs have annotated their tasks",
            *(f"{name} did not complete: {reason}" for name, reason in self.failed.items()),
            *(f"left out: {reason}" for reason in self.left_out),
            *(
                f"it is not known what earlier runs have annotated: {reason}"
                for reason in self.history_unknown
            ),
            *([] if self.saved is None else self.saved.lines()),
            *([f"it is not known what runs have saved: {self.saved_unknown}"] if self.saved_unknown else []),
        ]

    def markdown(self) -> str:
        """The report as a page: a table with a row for each task, and links to CVAT and to the runs."""
        rows = [task for outcome in _ORDER for task in self._of(outcome)]
        lines = [self.lines()[0], ""]
        lines += [
            f"It is not known what earlier runs have annotated: {why}\n" for why in self.history_unknown
        ]
        lines += self._saved_markdown()
        lines += ["| task | outcome | | run |", "|---|---|---|---|"]
        lines += [self._row(task) for task in rows[:MAX_ROWS]]
        if len(rows) > MAX_ROWS:
            lines.append(f"\n{len(rows) - MAX_ROWS} more tasks are not shown.")
        return "\n".join(lines)

    def _saved_markdown(self) -> list[str]:
        """What was saved, by function and label."""
        if self.saved_unknown:
            return [f"It is not known what runs have saved: {escape(self.saved_unknown)}\n"]
        if self.saved is None:
            return []
        headline, *notes = (escape(line) for line in self.saved.notes())
        lines = [headline, "", "| function | label | right | corrected | deleted | by hand | saved |"]
        lines.append("|---|---|---|---|---|---|---|")
        for each in self.saved.by_label[:MAX_ROWS]:
            saved = ("-" if each.seconds_saved < 0 else "") + format_duration(abs(each.seconds_saved))
            lines.append(
                f"| {escape(each.function)} | {escape(each.label)} | {each.confirmed} |"
                f" {each.moved + each.relabelled} | {each.deleted} |"
                f" {format_duration(each.seconds_without)} | {saved} |"
            )
        return [*lines, "", *(f"{note}\n" for note in notes)]

    def _row(self, task: TaskOutcome) -> str:
        address = None if task.run is None else url_for("flow-run", task.run, default_base_url="")
        run = f"[run]({address})" if address else ""
        message = task.message.replace("|", "\\|")
        return f"| [{task.name}]({self.url}/tasks/{task.task_id}) | {task.outcome} | {message} | {run} |"

    def _of(self, outcome: Outcome) -> Iterable[TaskOutcome]:
        return (task for task in self.tasks if task.outcome == outcome)


def publish_project_report(report: ProjectReport) -> None:
    """Publish a report as an artifact of the current flow run."""
    project = flow_run.parameters.get("project_id")
    create_markdown_artifact(
        markdown=report.markdown(),
        key="report-all-tasks" if project is None else f"report-project-{project}",
        description=report.lines()[0],
    )
