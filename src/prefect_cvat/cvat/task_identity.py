"""What tells a task from another one of its number, on a CVAT that was set up anew."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job, Task

__all__ = ["TaskIdentity"]


class TaskIdentity(BaseModel):
    """What tells a task from another one that has the same number on a CVAT that was set up anew.

    Attributes:
        created: When it was made; None for who may see only jobs of it.
        size: How many frames it has; None likewise.
        media: When its media were last changed, `chunks_updated_date`; None likewise.
        jobs: When each of some jobs was made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    created: datetime | None = None
    size: int | None = None
    media: datetime | None = None
    jobs: dict[int, datetime] = {}

    @classmethod
    def of(cls, task: Task, media: datetime | None, jobs: Sequence[Job]) -> TaskIdentity:
        """That of a task, as the server tells it.

        Args:
            task: The task.
            media: When its media were last changed, if that is known.
            jobs: Jobs of it; one is enough.
        """
        is_seen = task.created_date is not None
        return cls(
            created=task.created_date,
            size=task.size if is_seen else None,
            media=media if is_seen else None,
            jobs={job.id: job.created_date for job in jobs if job.created_date is not None},
        )

    def differences(self, now: TaskIdentity) -> list[str]:
        """In what a task differs today, in words; what is not known on one of both sides says nothing."""
        dates = [("it was created", self.created, now.created), ("its media changed", self.media, now.media)]
        dates += [
            (f"its job {job} was created", created, now.jobs.get(job)) for job, created in self.jobs.items()
        ]
        differences = [
            f"{what} at {today:%Y-%m-%d %H:%M:%S} UTC, not at {then:%Y-%m-%d %H:%M:%S} UTC"
            for what, then, today in dates
            if then is not None and today is not None and then != today
        ]
        if self.size is not None and now.size is not None and self.size != now.size:
            differences.append(f"it has {pluralize(now.size, 'frame')}, not {self.size}")
        return differences
