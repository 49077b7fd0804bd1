"""The schedule of the deployment `annotate-project`.

`prefect deploy` and `prefect-cvat serve` make the same deployment, and the later one sets its parameters. The
schedule therefore says itself for which project it is and by which log-in, so that these stay together; and
whoever says no project leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule
from pydantic import ValidationError

from prefect_cvat.deployments.prefect_yaml import ANNOTATE_PROJECT
from prefect_cvat.deployments.scope import Scope

__all__ = ["Nightly", "set_up_schedule"]

SLUG = "nightly"
"""What Prefect knows the schedule by."""

CHANGEABLE = ("schedule", "active", "parameters")

CRON = "0 2 * * *"
TIMEZONE = "UTC"


@dataclass(frozen=True, kw_only=True)
class Nightly:
    """When `annotate project` runs by itself.

    Attributes:
        cron: When, as a cron expression; None for the time that the schedule has, at first 2 a.m.
        timezone: Of which place, such as `Europe/Berlin`; None for that of the schedule, at first UTC.

    Raises:
        ValueError: There is no such time, or no such place.
    """

    cron: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        try:
            CronSchedule(cron=self.cron or CRON)
        except ValidationError:
            raise ValueError(
                f"{self.cron!r} is not a cron expression; one is like '0 2 * * *', which is 2 a.m. each day"
            ) from None
        try:
            CronSchedule(cron=CRON, timezone=self.timezone)
        except ValidationError:
            raise ValueError(
                f"there is no timezone {self.timezone!r}; its name is like 'Europe/Berlin' or 'UTC'"
            ) from None

    def __bool__(self) -> bool:
        """Whether a time is given."""
        return self.cron is not None or self.timezone is not None


def set_up_schedule(scope: Scope, nightly: Nightly, credentials: Mapping[str, Any]) -> Iterator[str]:
    """Make the schedule, or bring it into line. Any other one, and all without a scope, stay as they are.

    The deployment must be there. Its schedules are not changed together with it: Prefect 3.9 deletes those
    without a slug then, which are those that somebody has made in its pages.

    Args:
        scope: Which tasks.
        nightly: When.
        credentials: The block that its runs log in to CVAT with, as the value of a parameter.

    Yields:
        What was done, a line for each schedule.
    """
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(ANNOTATE_PROJECT)
        before = next((each for each in deployment.schedules if each.slug == SLUG), None)
        if scope:
            wanted = _make_schedule(scope, nightly, credentials, before)
            if before is None:
                client.create_deployment_schedules(deployment.id, [wanted])
                yield f"schedule {_describe(wanted)} (created)"
            elif all(getattr(before, name) == getattr(wanted, name) for name in CHANGEABLE):
                yield f"schedule {_describe(before)} (unchanged)"
            else:
                client.update_deployment_schedule(
                    deployment.id,
                    before.id,
                    active=wanted.active,
                    schedule=wanted.schedule,
                    parameters=wanted.parameters,
                )
                yield f"schedule {_describe(wanted)} (changed; it was: {_describe(before)})"
        for other in deployment.schedules:
            if not scope or other is not before:
                yield f"schedule {_describe(other)} (left as it is)"


def _make_schedule(
    scope: Scope, nightly: Nightly, credentials: Mapping[str, Any], before: DeploymentSchedule | None
) -> DeploymentScheduleCreate:
    """The schedule. What is not given stays as it is, and so does, for the same tasks, that it is off."""
    when = before.schedule if before is not None else CronSchedule(cron=CRON, timezone=TIMEZONE)
    if nightly:
        cron, timezone = (when.cron, when.timezone) if isinstance(when, CronSchedule) else (CRON, TIMEZONE)
        when = CronSchedule(cron=nightly.cron or cron, timezone=nightly.timezone or timezone)
    is_of_these = before is not None and Scope.of_parameters(before.parameters) == scope
    return DeploymentScheduleCreate(
        schedule=when,
        active=before.active if before is not None and is_of_these else True,
        parameters={
            "project_id": scope.project_id,
            "all_tasks": scope.all_tasks,
            "credentials": dict(credentials),
        },
        slug=SLUG,
    )


def _describe(schedule: DeploymentSchedule | DeploymentScheduleCreate) -> str:
    """A schedule in words, such as `'nightly' of project 7, 0 2 * * * Europe/Berlin`."""
    when = schedule.schedule
    time = f"{when.cron} {when.timezone or TIMEZONE}" if isinstance(when, CronSchedule) else str(when)
    scope = Scope.of_parameters(schedule.parameters)
    of = f"of {scope}" if scope else "of the project that the deployment has"
    return f"{schedule.slug or 'without a name'!r} {of}, {time}{'' if schedule.active else ', switched off'}"
