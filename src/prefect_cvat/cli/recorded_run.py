"""What is recorded about a run: its settings, and its report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_cvat.exceptions import StorageError
from prefect_cvat.inference.provenance import Provenance
from prefect_cvat.records.record_reader import find_run, read_reports, read_run
from prefect_cvat.records.run_list import ListedRun, list_run
from prefect_cvat.runs.reports.report_model import RunReport

__all__ = ["ShownRun", "read_recorded_run"]


class ShownRun(BaseModel):
    """A recorded run.

    Attributes:
        run: The run, as it is listed.
        provenance: Its function, the version and the settings.
        reports: Its reports: one for each process, such as a shard, that was not killed.
    """

    model_config = ConfigDict(extra="forbid")

    run: ListedRun
    provenance: Provenance
    reports: list[RunReport]

    def lines(self) -> list[str]:
        """The run as lines for a terminal."""
        settings = self.provenance.model_dump(mode="json", exclude_defaults=True)
        lines = [self.run.line(), *(f"{name}: {value}" for name, value in settings.items())]
        if not self.reports:
            lines.append("no report: the run is running or was killed, or an earlier version has recorded it")
        for report in self.reports:
            lines += report.lines()
        if self.run.added:
            lines.append(f"to undo it: prefect-cvat --server-host {self.run.server} undo {self.run.run}")
        return lines


def read_recorded_run(run: str) -> ShownRun:
    """Read what is recorded about a run.

    Args:
        run: The id of the run, at least its first eight characters, or the path of its report.

    Raises:
        RunNotFoundError: There is no record of the run.
        StorageError: The record or a report cannot be read.
        ValueError: Several runs match, or the file is not a report.
    """
    recorded = read_run(find_run(run))
    listed = list_run(recorded)
    try:
        reports = [RunReport.model_validate_json(report) for report in read_reports(listed.run)]
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise StorageError(
            f"a report of run {listed.run} cannot be read ({'.'.join(map(str, problem['loc']))}:"
            f" {problem['msg']}); another version of prefect-cvat may have written it"
        ) from None
    return ShownRun(run=listed, provenance=recorded.header.provenance, reports=reports)
