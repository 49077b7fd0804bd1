"""The report of a run on a project, and its artifact in Prefect."""

from __future__ import annotations

from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

__all__ = ["ProjectReport", "publish_project_report"]


class ProjectReport(BaseModel):
    """The report of a run on a project.

    Attributes:
        completed: The tasks of completed runs, such as `task 42` or `task 42, jobs 7-9`.
        failed: The tasks of other runs, with the messages of their final states.
        already_annotated: The tasks that earlier runs have annotated.
        left_out: Messages that say why tasks cannot be annotated.
        history_unknown: Messages that say why it is not known what earlier runs have annotated.
    """

    completed: list[str] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    already_annotated: list[str] = Field(default_factory=list)
    left_out: list[str] = Field(default_factory=list)
    history_unknown: list[str] = Field(default_factory=list)

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
        ]


def publish_project_report(report: ProjectReport) -> None:
    """Publish a report as a table artifact of the current flow run."""
    rows = [
        *(_row(name, "failed", reason) for name, reason in report.failed.items()),
        *(_row(name, "completed") for name in report.completed),
        *(_row(name, "already annotated") for name in report.already_annotated),
        *(_row("", "left out", reason) for reason in report.left_out),
        *(_row("", "earlier runs unknown", reason) for reason in report.history_unknown),
    ]
    project = flow_run.parameters.get("project_id")
    create_table_artifact(
        table=rows,
        key="report-all-tasks" if project is None else f"report-project-{project}",
        description=report.lines()[0],
    )


def _row(run: str, outcome: str, reason: str = "") -> dict[str, str]:
    return {"run": run, "outcome": outcome, "reason": reason}
