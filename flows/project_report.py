"""What a run on a project did, and how Prefect shows it."""

from __future__ import annotations

from prefect.artifacts import create_table_artifact
from prefect.runtime import flow_run
from pydantic import BaseModel, Field

__all__ = ["ProjectReport", "publish_project_report"]


class ProjectReport(BaseModel):
    """What a run on a project did.

    Attributes:
        completed: What the runs that completed were about, such as `task 42` or `task 42, jobs 7-9`.
        failed: What the others were about, with the message of their state.
        done_before: What a run had annotated already.
        not_annotatable: Why tasks could not be annotated.
        always_anew: Why it is not known what runs before have annotated, if so.
    """

    completed: list[str] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    done_before: list[str] = Field(default_factory=list)
    not_annotatable: list[str] = Field(default_factory=list)
    always_anew: list[str] = Field(default_factory=list)

    def lines(self) -> list[str]:
        """The report as plain lines, for a log."""
        return [
            f"{len(self.completed)} runs completed, {len(self.failed)} did not;"
            f" {len(self.done_before)} were not needed, as it was done before",
            *(f"{name} did not complete: {why}" for name, why in self.failed.items()),
            *(f"left out: {why}" for why in self.not_annotatable),
            *(f"what was done before is not known: {why}" for why in self.always_anew),
        ]


def publish_project_report(report: ProjectReport) -> None:
    """Show a report as a table artifact of the current flow run."""
    rows = [
        *({"what": name, "outcome": "failed", "why": why} for name, why in report.failed.items()),
        *({"what": name, "outcome": "completed", "why": ""} for name in report.completed),
        *({"what": name, "outcome": "done before", "why": ""} for name in report.done_before),
        *({"what": "", "outcome": "left out", "why": why} for why in report.not_annotatable),
        *({"what": "", "outcome": "done before not known", "why": why} for why in report.always_anew),
    ]
    project = flow_run.parameters.get("project_id")
    create_table_artifact(
        table=rows,
        key="report-all-tasks" if project is None else f"report-project-{project}",
        description=report.lines()[0],
    )
