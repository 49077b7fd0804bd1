"""Describes what an incomplete run has left on the server."""

from __future__ import annotations

from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["describe_remaining", "undo_command"]


def describe_remaining(report: RunReport) -> str:
    """Describe what an incomplete run has left on the server, and how to continue."""
    if report.added:
        return (
            f"{report.added} annotations of this run are in task {report.task_id}; run it again to complete"
            " it, nothing is added twice"
        )
    if report.unsettled:
        return (
            f"{report.unsettled} annotations were sent to task {report.task_id} with unknown result; run it"
            " again"
        )
    return f"it has left nothing in task {report.task_id}"


def undo_command(report: RunReport) -> str | None:
    """The command that undoes a run; None if it has sent nothing."""
    if not (report.added or report.unsettled or report.issues_opened):
        return None
    server = report.url.partition("/tasks/")[0]
    return f"to undo it: prefect-cvat --server-host {server} undo {report.run}"
