"""The frames of a task, or of one job of it, for functions."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import ApiError, bad_request, server_error
from prefect_cvat.sandbox.functions.region import Region, crop
from prefect_cvat.sandbox.media.image_chunks import frame_files, single_frame
from prefect_cvat.sandbox.media.video_chunks import video_frame
from prefect_cvat.sandbox.state import State
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.job_layout import frames_of_job


@dataclass(frozen=True, kw_only=True)
class Frames:
    """What a function is called on.

    Attributes:
        state: The server.
        task: The task.
        job: The job, if only its frames may be sent.
    """

    state: State
    task: Row
    job: Row | None

    @classmethod
    def of_request(cls, call: Call, db: Connection, task_id: Any, job_id: Any) -> "Frames":
        """The frames that a request names, if the user may see them.

        Raises:
            ApiError: 403 or 404; with a job, its task does not matter. 500 if the task has no frames.
        """
        if job_id is not None:
            job = permissions.job_of(call, db, job_id)
            return cls(state=call.state, task=permissions.task_of_job(db, job), job=job)
        task = permissions.task_of(call, db, task_id)
        if task["data_id"] is None:
            raise server_error()
        return cls(state=call.state, task=task, job=None)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the frames, without deleted ones."""
        numbers = range(self.task["size"]) if self.job is None else frames_of_job(self.job)
        deleted = set(json.loads(self.task["deleted_frames"]))
        return [number for number in numbers if number not in deleted]

    def check(self, number: Any) -> int:
        """Check the number of a frame in a request.

        Raises:
            ApiError: 400 if it is outside, 500 if it is no number.
        """
        if type(number) is not int:
            raise server_error()  # as CVAT 2.73
        if self.job is not None and number not in frames_of_job(self.job):
            raise ApiError(400, "The frame is outside the job range")
        size = self.task["size"]
        if not 0 <= number < size:
            raise bad_request(
                [f"Invalid frame '{number}'. The frame number should be in the [0, {size}] range"]
            )
        return number

    def image(self, number: int, region: Region | None = None) -> str:
        """The image as a function gets it: the file in original quality, in base64."""
        if self.task["mode"] == "interpolation":
            content = video_frame(self.state, self.task, number, "PNG")
        else:
            with self.state.database.read() as db:
                (source,) = frame_files(self.state, db, self.task["data_id"], [number])
            content, _ = single_frame(source, quality=None)
        return base64.b64encode(crop(content, region)).decode()

    def sizes(self, numbers: list[int]) -> list[tuple[int, int]]:
        """Width and height of frames in pixels."""
        with self.state.database.read() as db:
            rows = db.execute(
                "SELECT number, width, height FROM frame WHERE data_id = ?", (self.task["data_id"],)
            )
            known = {row["number"]: (row["width"], row["height"]) for row in rows}
        return [known[number] for number in numbers]
