"""The users, tasks and jobs of the recorded calls, made again in a sandbox, and their numbers there."""

import base64
import io
from typing import Any

import urllib3
from PIL import Image

from pictures import picture
from prefect_cvat import Client
from prefect_cvat.sandbox import Sandbox

PASSWORD = "secret"
_CAR = [
    ("color", "select", ["red", "blue"], False),
    ("count", "number", ["0", "10", "2"], True),
    ("parked", "checkbox", ["false"], True),
    ("text", "text", [""], True),
    ("side", "radio", ["left", "right"], True),
]
_SEEN = {"name": "seen", "input_type": "checkbox", "values": ["false"], "mutable": False}
LABELS = [
    {
        "name": "car",
        "attributes": [
            {"name": name, "input_type": input_type, "values": values, "mutable": mutable}
            for name, input_type, values, mutable in _CAR
        ],
    },
    {"name": "boat", "type": "rectangle"},
    {"name": "sky", "type": "mask"},
    {"name": "field", "type": "polygon"},
    {"name": "day", "type": "tag"},
    {"name": "line", "type": "polyline"},
    {"name": "dots", "type": "points"},
    {"name": "egg", "type": "ellipse"},
    {
        "name": "body",
        "type": "skeleton",
        "svg": "",
        "sublabels": [
            {"name": "head", "type": "points", "attributes": [_SEEN]},
            {"name": "tail", "type": "points"},
            {"name": "foot", "type": "points"},
        ],
    },
]
ONE_LABEL = [{"name": "car"}]


class RecordedWorld:
    """What the recording had.

    Attributes:
        tasks, jobs, labels, attributes: The numbers in the sandbox by those in the recording.
    """

    def __init__(self, server: Sandbox, admin: Client, first_image: bytes) -> None:
        self._server, self._admin = server, admin
        self._pool = urllib3.PoolManager(retries=False)
        self.tasks: dict[int, int] = {}
        self.jobs: dict[int, int] = {}
        for name in ("user1", "worker1", "worker2"):
            admin.json(
                "POST",
                "/api/auth/register",
                body={"username": name, "password1": PASSWORD, "password2": PASSWORD},
            )
        images = {"00.png": first_image} | {f"{i:02}.png": picture(32, 24, seed=i) for i in range(1, 12)}
        self._task(197, LABELS, images, [287, 288, 289], segment_size=4)
        self._task(198, ONE_LABEL, {"0.png": first_image}, [290])
        self._task(199, ONE_LABEL, {f"{i:03}.png": picture(32, 24, seed=i) for i in range(230)}, [])
        pool = {"mode": "gt_pool", "frame_selection_method": "manual", "frames": ["10.png", "11.png"]}
        parameters = {"validation_params": {**pool, "frames_per_job_count": 1}, "sorting_method": "random"}
        self._task(204, ONE_LABEL, dict(list(images.items())[2:]), [], segment_size=4, data=parameters)
        truth = {"mode": "gt", "frame_selection_method": "manual", "frames": ["01.png", "04.png"]}
        self._task(
            205, ONE_LABEL, dict(list(images.items())[:6]), [317, 318], data={"validation_params": truth}
        )
        stepped = {f"{i:02}.png": picture(32, 24, seed=i) for i in range(20)}
        self._task(
            400,
            ONE_LABEL,
            stepped,
            [333, 334],
            segment_size=3,
            data={"start_frame": 2, "frame_filter": "step=3"},
        )
        self._name_labels()
        worker = next(user for user in self._users() if user["username"] == "worker1")
        self._admin.json("PATCH", f"/api/jobs/{self.jobs[288]}", body={"assignee": worker["id"]})

    @property
    def secret(self) -> bytes:
        """What the sandbox signs the states of trackers with."""
        return self._server._state.secret

    def send(self, user: str | None, method: str, path: str, body: Any) -> urllib3.BaseHTTPResponse:
        """Send a request of the recording, with the numbers of the sandbox."""
        name, password = (user, PASSWORD) if user not in (None, "admin1") else ("admin", "admin")
        headers = urllib3.make_headers(basic_auth=f"{name}:{password}")
        sent = dict(body) if isinstance(body, dict) else body
        if isinstance(sent, dict):
            for key, numbers in (("task", self.tasks), ("job", self.jobs)):
                if key in sent:
                    sent[key] = numbers[sent[key]]
        return self._pool.request(
            method, self._server.url + self.path(path), json=sent, headers=headers, timeout=60
        )

    def path(self, path: str) -> str:
        """A path of the recording, with the numbers of the sandbox."""
        path = path.removesuffix(" (afterwards)")
        for recorded, number in self.tasks.items():
            path = path.replace(f"target_id%3D{recorded}", f"target_id%3D{number}")
            path = path.replace(f"/tasks/{recorded}/", f"/tasks/{number}/")
        return path

    def numbers_of_recording(self, value: Any, key: str = "") -> Any:
        """An answer of the sandbox with the numbers of the recording."""
        if isinstance(value, dict):
            return {name: self.numbers_of_recording(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.numbers_of_recording(item, key) for item in value]
        for keys, numbers in (
            (("task",), self.tasks),
            (("job",), self.jobs),
            (("label_id",), self.labels),
            (("spec_id",), self.attributes),
        ):
            if key in keys:
                return {number: recorded for recorded, number in numbers.items()}.get(value, value)
        if isinstance(value, str):
            for recorded, number in self.tasks.items():
                for before in ("target_id=", "#"):
                    if value.endswith(f"{before}{number}") or f"{before}{number} " in value:
                        return value.replace(f"{before}{number}", f"{before}{recorded}")
        return value

    def clear(self, *, with_human_shape: bool, deleted_frames: list[int]) -> None:
        """Remove all annotations, but one of a human on frame 0 of task 197 if that is wanted."""
        for recorded in (197, 204, 205):
            for job in self._admin.jobs(self.tasks[recorded]):
                self._admin.json("DELETE", f"/api/jobs/{job.id}/annotations")
        task = self.tasks[197]
        self._admin.json("PATCH", f"/api/tasks/{task}/data/meta", body={"deleted_frames": deleted_frames})
        if with_human_shape:
            box = {"type": "rectangle", "points": [1, 1, 5, 5], "frame": 0, "label_id": self.labels[1080]}
            self._admin.json("PATCH", f"/api/tasks/{task}/annotations?action=create", body={"shapes": [box]})

    def _task(
        self,
        recorded: int,
        labels: list[dict[str, Any]],
        images: dict[str, bytes],
        jobs: list[int],
        *,
        data: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        body = {"name": f"task {recorded}", "labels": labels, **fields}
        number = self._admin.json("POST", "/api/tasks", body=body)["id"]
        self._admin.upload_images(number, images, **(data or {}))
        self.tasks[recorded] = number
        self.jobs |= dict(zip(jobs, (job.id for job in self._admin.jobs(number)), strict=False))

    def _name_labels(self) -> None:
        self.labels: dict[int, int] = {}
        self.attributes: dict[int, int] = {}
        found = self._admin.json("GET", "/api/labels", params={"task_id": self.tasks[197], "page_size": 100})
        number, attribute_number = 1080, 246
        for label in found["results"]:
            for each in (label, *label["sublabels"]):
                self.labels[number], number = each["id"], number + 1
                for attribute in each["attributes"]:
                    self.attributes[attribute_number] = attribute["id"]
                    attribute_number += 1
        for recorded, task in ((1104, 199), (1131, 204), (1132, 205), (1133, 206)):
            if task in self.tasks:
                [label] = self._admin.labels(self.tasks[task])
                self.labels[recorded] = label.id

    def _users(self) -> list[dict[str, Any]]:
        users: list[dict[str, Any]] = self._admin.json("GET", "/api/users", params={"page_size": 100})[
            "results"
        ]
        return users


def size_and_format(image: str) -> tuple[str, int, int]:
    """Format, width and height of an image in base64."""
    with Image.open(io.BytesIO(base64.b64decode(image))) as opened:
        return str(opened.format), *opened.size
