"""The nightly schedule of the deployment `annotate-project`.

`prefect deploy` and `prefect-cvat serve` create the same deployment, and the later one sets its parameters.
So the schedule has its own parameters, with project and credentials. There is one schedule with the
slug `nightly`; it is changed only if a project or all tasks are given. If a nightly run starts twice, the
second one comes from another schedule, created in Prefect's UI or in a copy of `prefect.yaml`.
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

__all__ = ["NightlySchedule", "set_up_schedule"]

SLUG = "nightly"
"""The slug that identifies the schedule in Prefect."""

CHANGEABLE = ("schedule", "active", "parameters")

CRON = "0 2 * * *"
TIMEZONE = "UTC"


@dataclass(frozen=True, kw_only=True)
class NightlySchedule:
    """The time at which `annotate project` is started.

    Attributes:
        cron: A cron expression; None keeps the time of the schedule, by default 2 a.m.
        timezone: A time zone such as `Europe/Berlin`; None keeps that of the schedule, by default UTC.

    Raises:
        ValueError: `cron` or `timezone` is not valid.
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
        """Whether a time or time zone is given."""
        return self.cron is not None or self.timezone is not None


def set_up_schedule(scope: Scope, nightly: NightlySchedule, credentials: Mapping[str, Any]) -> Iterator[str]:
    """Create or change the schedule `nightly`. Without a scope, and for other schedules, nothing is changed.

    The deployment must exist. The schedule is changed on its own: if Prefect 3.9 updates the schedules of a
    deployment, it deletes those without a slug, which were created in its UI.

    Args:
        scope: The tasks that the schedule annotates.
        nightly: The time.
        credentials: A reference to the block with the credentials for CVAT.

    Yields:
        A line for each schedule, with what was done.
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
                yield f"schedule {_describe(other)} (not changed)"


def _make_schedule(
    scope: Scope, nightly: NightlySchedule, credentials: Mapping[str, Any], before: DeploymentSchedule | None
) -> DeploymentScheduleCreate:
    """The wanted schedule. It keeps its time if none is given, and stays off if it was off for this scope."""
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
    """A schedule as text, such as `'nightly' of project 7, 0 2 * * * Europe/Berlin`."""
    when = schedule.schedule
    time = f"{when.cron} {when.timezone or TIMEZONE}" if isinstance(when, CronSchedule) else str(when)
    scope = Scope.of_parameters(schedule.parameters)
    of = f"of {scope}" if scope else "of the project that the deployment has"
    return f"{schedule.slug or 'without a name'!r} {of}, {time}{'' if schedule.active else ', switched off'}"
