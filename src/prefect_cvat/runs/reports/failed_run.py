"""What a run that did not complete has left on the server, in words."""

from __future__ import annotations

from prefect_cvat.runs.reports.run_report import RunReport

__all__ = ["describe_remaining", "undo_command"]


def describe_remaining(report: RunReport) -> str:
    """What is on the server of a run that did not complete, and how to go on."""
    if report.added:
        return (
            f"{report.added} annotations that it has added are in task {report.task_id}; running it again"
            " completes it, and adds nothing twice"
        )
    if report.unsettled:
        return (
            f"{report.unsettled} annotations were sent to task {report.task_id}, and it is not known whether"
            " they arrived; run it again"
        )
    return f"it has left nothing in task {report.task_id}"


def undo_command(report: RunReport) -> str | None:
    """How to undo a run; None where it has sent nothing."""
    if not (report.added or report.unsettled or report.issues_opened):
        return None
    server = report.url.partition("/tasks/")[0]
    return f"to undo it: prefect-cvat --server-host {server} undo {report.run}"
