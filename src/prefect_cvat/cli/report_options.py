"""The options for reports, and for files that commands write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import click
from pydantic import AfterValidator, Field, model_validator

from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.output_file import check_writable
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = [
    "DryRunOptions",
    "JsonOption",
    "OutputFile",
    "PageFile",
    "PageOptions",
    "RunReportOptions",
    "check_output_file",
]


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


PageFile = Annotated[
    OutputFile, Field(description="Write a page to review the frames with to this file, HTML.")
]
"""The page of a run: the same option for all commands that have one."""


class PageOptions(OptionModel):
    """The page to review frames with."""

    page: PageFile = None
    page_frames: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description=(
                "Maximum number of frames on the page, those with most to review first. With more than 200,"
                " their images are in a folder beside it."
            ),
        ),
    ] = 200

    @model_validator(mode="after")
    def _check_page(self) -> Self:
        if self.page is None and self.page_frames != type(self).model_fields["page_frames"].default:
            raise ValueError("--page-frames goes with --page")
        return self

    def page_of(self, task_id: int) -> Path | None:
        """The page of one of several tasks: `page-12.html`."""
        page = self.page
        return None if page is None else page.with_name(f"{page.stem}-{task_id}{page.suffix}")

    def check_pages(self, task_ids: Sequence[int]) -> None:
        """Check that the pages of tasks can be written, before anything is done.

        Args:
            task_ids: The tasks. One has the page of the option; several have pages of their own.

        Raises:
            UsageError: One cannot be written, or the folder of its images.
        """
        from prefect_cvat.rendering.review_page.image_folder import check_page

        pages = [self.page] if len(task_ids) == 1 else [self.page_of(task_id) for task_id in task_ids]
        try:
            for page in pages:
                if page is not None:
                    check_page(page, self.page_frames)
        except StorageError as error:
            raise click.UsageError(f"--page: {error}") from None


class JsonOption(OptionModel):
    """Whether the report is printed as JSON."""

    as_json: Annotated[bool, OnCommandLine("--json"), Field(description="Print the report as JSON.")] = False


class DryRunOptions(JsonOption):
    """Whether the command is a dry run."""

    dry_run: Annotated[bool, Field(description="Show what would be done, and do nothing.")] = False


class RunReportOptions(PageOptions, DryRunOptions):
    """The options for the output of a report."""

    report: Annotated[OutputFile, Field(description="Write the report as JSON to this file.")] = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.page is not None and self.dry_run:
            raise ValueError("a dry run has no frames to review; --page goes without --dry-run")
        return self
