"""Whether a job may have honeypots of which its annotator is not told.

In a task with a pool of ground truth, CVAT puts copies of frames of the pool into each job, to measure its
annotator by them. Which frames these are is told to who may see the task, and nothing that an annotator may
read says whether there are any. What says it is a refusal: CVAT 2.73 takes no tracks in such a task, and
says so before it looks at the track (`JobAnnotation.create`: `_validate_input_annotations`, then `_create`).
So a track is offered that no task takes, because its label does not exist: nothing is written either way.
"""

from __future__ import annotations

from typing import Any

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import (
    BadRequestError,
    PermissionDeniedError,
    UnsupportedTaskError,
    is_transient,
)
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.models import Job

__all__ = ["check_has_no_honeypots"]

NO_LABEL = 0
"""CVAT counts labels from 1."""

ATTEMPTS = 5

RETRY = RetryPolicy()
"""How long is waited before the question is asked again. It can be: it changes nothing."""


def check_has_no_honeypots(client: Client, job: Job) -> None:
    """Refuse a job of which it is not sure that all of its frames may be written to.

    Args:
        client: The server.
        job: An annotation job of images, which this user may see, and not its task.

    Raises:
        UnsupportedTaskError: Its task has a pool of ground truth, or that cannot be found out.
    """
    refusal = _refusal_of_track(client, job)
    if isinstance(refusal, BadRequestError):
        if "gt_pool" in refusal.detail:
            raise UnsupportedTaskError(
                f"task {job.task_id} has a pool of ground-truth frames, and CVAT does not tell who is"
                f" assigned jobs alone which frames of job {job.id} are honeypots, which must not be"
                " written to; have the task itself assigned to this user, or let somebody run this who may"
                " see the task"
            )
        if f"label_id `{NO_LABEL}` is invalid" in refusal.detail:
            return
    raise UnsupportedTaskError(
        f"whether job {job.id} of task {job.task_id} has honeypots, which must not be written to, cannot be"
        f" found out by who may not see the task ({refusal or 'CVAT took what it cannot take'}); let somebody"
        " run this who may see it"
    )


def _refusal_of_track(client: Client, job: Job) -> BadRequestError | PermissionDeniedError | None:
    frame = job.start_frame
    shape: dict[str, Any] = {"type": "rectangle", "frame": frame, "points": [0, 0, 1, 1], "outside": False}
    track = {"frame": frame, "label_id": NO_LABEL, "shapes": [shape]}
    retrying = RETRY.retrying(retry_on=_is_transient, max_attempts=ATTEMPTS)
    try:
        written = retrying(
            client.create_job_annotations, job.id, {"tags": [], "shapes": [], "tracks": [track]}
        )
    except (BadRequestError, PermissionDeniedError) as error:
        return error
    client.delete_job_annotations(job.id, {"tags": [], "shapes": [], "tracks": written.tracks})
    return None


def _is_transient(error: BaseException) -> bool:
    return not isinstance(error, BadRequestError | PermissionDeniedError) and is_transient(error)
