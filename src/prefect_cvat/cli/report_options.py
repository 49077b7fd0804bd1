"""The options for reports, and for files that commands write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.output_file import check_writable
from prefect_cvat.options.option_model import OnCommandLine, OptionModel

__all__ = ["DryRunOptions", "JsonOption", "OutputFile", "RunReportOptions", "check_output_file"]


def check_output_file(file: Path | None) -> Path | None:
    """Check that a file can be written, before anything is done.

    Returns:
        Its absolute path: a function may change the working directory.

    Raises:
        ValueError: It cannot be written.
    """
    if file is None:
        return None
    try:
        check_writable(file)
    except StorageError as error:
        raise ValueError(str(error)) from None
    return file.resolve()


OutputFile = Annotated[Path | None, AfterValidator(check_output_file), OnCommandLine(metavar="FILE")]


class JsonOption(OptionModel):
    """Whether the report is printed as JSON."""

    as_json: Annotated[bool, OnCommandLine("--json"), Field(description="Print the report as JSON.")] = False


class DryRunOptions(JsonOption):
    """Whether the command is a dry run."""

    dry_run: Annotated[bool, Field(description="Show what would be done, and do nothing.")] = False


class RunReportOptions(DryRunOptions):
    """The options for the output of a report."""

    report: Annotated[OutputFile, Field(description="Write the report as JSON to this file.")] = None
