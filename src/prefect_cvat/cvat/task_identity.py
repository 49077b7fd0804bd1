"""Recognizes whether a task is still the same after a CVAT server was reinstalled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from prefect_cvat.messages.plurals import pluralize
from prefect_cvat.models import Job, Task

__all__ = ["TaskIdentity"]


class TaskIdentity(BaseModel):
    """Distinguishes a task from another one with the same id on a reinstalled CVAT server.

    Attributes:
        created: The creation time of the task; None for users who may see only its jobs.
        size: Number of frames; None likewise.
        media: The time of the last change to the media, `chunks_updated_date`; None likewise.
        jobs: The creation times of some of its jobs, by id.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    created: datetime | None = None
    size: int | None = None
    media: datetime | None = None
    jobs: dict[int, datetime] = {}

    @classmethod
    def of(cls, task: Task, media: datetime | None, jobs: Sequence[Job]) -> TaskIdentity:
        """The identity of a task on the server.

        Args:
            task: The task.
            media: The time of the last change to its media, if known.
            jobs: Some of its jobs; one is enough.
        """
        is_seen = task.created_date is not None
        return cls(
            created=task.created_date,
            size=task.size if is_seen else None,
            media=media if is_seen else None,
            jobs={job.id: job.created_date for job in jobs if job.created_date is not None},
        )

    def differences(self, now: TaskIdentity) -> list[str]:
        """Describe how a task differs now. Fields unknown on either side are ignored."""
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
