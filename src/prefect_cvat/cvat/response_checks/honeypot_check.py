"""Checks whether a job may have honeypots that its annotator cannot see.

In a task with a pool of ground truth, CVAT puts copies of its frames into each job, to measure the annotator.
Only users who may see the task can list these honeypots; annotators cannot even read whether there are any.
But CVAT 2.73 refuses tracks in these tasks before it validates them (`JobAnnotation.create`:
`_validate_input_annotations`, then `_create`). So the check sends a track with a label that does not exist:
CVAT always refuses it, and the error says whether there is a pool.
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
"""An id that no label has: ids in CVAT start at 1."""

ATTEMPTS = 5

RETRY = RetryPolicy()
"""Waits between attempts. The request is safe to repeat: it changes nothing."""


def check_has_no_honeypots(client: Client, job: Job) -> None:
    """Refuse a job that may have honeypots.

    Args:
        client: The server.
        job: An annotation job of images, in a task that this user may not see.

    Raises:
        UnsupportedTaskError: Its task has a pool of ground truth, or may have one.
    """
    refusal = _refusal_of_track(client, job)
    if isinstance(refusal, BadRequestError):
        if "gt_pool" in refusal.detail:
            raise UnsupportedTaskError(
                f"task {job.task_id} has a pool of ground-truth frames, and CVAT hides from this user which"
                f" frames of job {job.id} are honeypots, which must not be annotated; assign the task itself"
                " to this user, or run this as a user who may see the task"
            )
        if f"label_id `{NO_LABEL}` is invalid" in refusal.detail:
            return
    raise UnsupportedTaskError(
        f"job {job.id} of task {job.task_id} may have honeypots, which must not be annotated"
        f" ({refusal or 'CVAT accepted an invalid track'}); run this as a user who may see the task"
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
