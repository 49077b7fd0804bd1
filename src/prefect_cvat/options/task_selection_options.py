"""Options that select tasks of a server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = ["TaskSelection"]

_Text = Annotated[str | None, BeforeValidator(lambda text: text or None)]
"""A text; an empty one, from a form, means None."""


class TaskSelection(OptionModel):
    """Selects tasks. A task must fulfil all conditions that are set.

    Raises:
        ValueError: A value is not valid.
    """

    group: ClassVar[str] = "Tasks"

    name_pattern: Annotated[
        _Text,
        OnCommandLine(metavar="PATTERN"),
        Field(description="The task's name, with * for any letters and ? for one, such as night-*."),
    ] = None
    statuses: Annotated[
        Sequence[Literal["annotation", "validation", "completed"]],
        OnCommandLine("--status"),
        Field(description="The task is in one of these."),
    ] = ()
    assignee: Annotated[
        _Text, OnCommandLine(metavar="USER"), Field(description="User name of the task's assignee.")
    ] = None
    updated_since: Annotated[
        datetime | None,
        OnCommandLine(metavar="TIME"),
        Field(description="The task was changed after this time, such as 2026-11-01 or 2026-11-01T18:00."),
    ] = None
    updated_within_days: Annotated[
        Annotated[float, Field(gt=0)] | None,
        OnCommandLine(metavar="DAYS"),
        Field(description="The task was changed within this number of days."),
    ] = None
    job_stages: Annotated[
        Sequence[Literal["annotation", "validation", "acceptance"]],
        OnCommandLine("--job-stage"),
        Field(description="The task has jobs in one of these stages; only these jobs are annotated."),
    ] = ()
    job_states: Annotated[
        Sequence[Literal["new", "in progress", "rejected", "completed"]],
        OnCommandLine("--job-state"),
        Field(description="The task has jobs in one of these states; only these jobs are annotated."),
    ] = ()
    with_unannotated_frames: Annotated[
        bool,
        Field(
            description=("The task has frames without annotations. All of its jobs are read to check this.")
        ),
    ] = False
    without_finished_run: Annotated[
        bool,
        Field(
            description=(
                "No completed run has annotated the task with the same function, version and settings on the"
                " same media."
            )
        ),
    ] = True
