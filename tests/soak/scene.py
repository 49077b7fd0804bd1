"""The task of a schedule, its initial annotations, and the human who edits it during the runs.

All of this writes directly to the database of the sandbox, without HTTP and so without faults.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import PIL.Image

from prefect_cvat import Client
from prefect_cvat.sandbox import Sandbox
from prefect_cvat.sandbox.annotations import annotation_store
from prefect_cvat.sandbox.annotations.annotation_body import validate_annotations
from soak.findings import HEIGHT, WIDTH, detections
from soak.functions import SHADE, labels
from soak.journal import Journal, Key, acting, note, stored
from soak.schedule import Deed, Json, Schedule

Tables = dict[str, list[Json]]
Held = dict[int, dict[Key, Json]]
"""What jobs hold: by the id of the job, then by kind and id."""


@dataclass
class Scene:
    """A task on a sandbox.

    Attributes:
        names: The names of the frames.
        jobs: The jobs, as `Client.jobs` gives them.
        annotated: By the id of the job, the frames that runs write to.
        label_names: The names of labels and sublabels by their ids.
        spec_names: The names of attributes by their ids.
        before: What stood there before the first run.
    """

    schedule: Schedule
    server: Sandbox
    journal: Journal = field(default_factory=Journal)
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    task_id: int = 0
    names: list[str] = field(default_factory=list)
    jobs: list[Any] = field(default_factory=list)
    annotated: dict[int, frozenset[int]] = field(default_factory=dict)
    label_ids: dict[str, int] = field(default_factory=dict)
    spec_ids: dict[str, int] = field(default_factory=dict)
    before: Held = field(default_factory=dict)

    @property
    def human(self) -> str:
        """The actor that the human is."""
        return f"{self.name}-human"

    def make(self) -> None:
        """Create the task, with manual and automatic annotations."""
        plan = self.schedule
        fields: Json = {}
        if plan.segment_size:
            fields |= {"segment_size": plan.segment_size, "overlap": plan.overlap}
        if plan.layout == "consensus":
            fields["consensus_replicas"] = 2
        data: Json = {"chunk_size": plan.chunk_size}
        if plan.layout in ("gt", "gt_pool"):
            data["validation_params"] = {
                "mode": plan.layout,
                "frame_selection_method": "random_uniform",
                "frame_count": 2,
                "random_seed": 1,
            }
        if plan.layout == "gt_pool":
            data["sorting_method"] = "random"
            data["validation_params"]["frames_per_job_count"] = 1
        with Client(self.server.url) as client:
            client.login((self.server.user, self.server.password))
            task = client.create_task(plan.key, labels(), **fields)
            client.upload_images(task.id, {f"{i:02}.png": _image(i) for i in range(plan.frames)}, **data)
            if plan.deleted:
                body = {"deleted_frames": plan.deleted}
                client._transport.json("PATCH", f"/api/tasks/{task.id}/data/meta", body=body)
            self.task_id = task.id
            self.names = [frame.name for frame in client.meta(task.id).frames]
            self.jobs = client.jobs(task.id)
            layout = client.validation_layout(task.id)
            for label in client.labels(task.id):
                self.label_ids |= {label.name: label.id}
                self.label_ids |= {sublabel.name: sublabel.id for sublabel in label.sublabels}
                self.spec_ids |= {attribute.name: attribute.id for attribute in label.attributes}
        annotated = set(range(len(self.names)) if plan.selected is None else plan.selected) - set(
            plan.deleted
        )
        if plan.layout == "gt_pool":
            annotated -= {*(layout.validation_frames or ()), *(layout.honeypot_frames or ())}
        self.annotated = {
            job.id: frozenset(frame for frame in annotated if job.start_frame <= frame <= job.stop_frame)
            if job.type == "annotation"
            else frozenset()
            for job in self.jobs
        }
        self._place()
        self.before = self.read()
        self.journal.keep(self.human)

    def new_user(self, name: str) -> str:
        """Create a user with the password of the administrator, known to the journal."""
        actor = f"{self.name}-{name}"
        with self.server._state.database.write() as db:
            db.execute(
                "INSERT INTO user (username, email, first_name, last_name, password, is_superuser, date_joined)"
                " SELECT ?, ?, '', '', password, 1, date_joined FROM user WHERE username = ?",
                (actor, f"{actor}@localhost", self.server.user),
            )
        self.journal.keep(actor)
        return actor

    def read(self) -> Held:
        """All annotations of the jobs."""
        with self.server._state.database.read() as db:
            return {job.id: stored(db, job.id) for job in self.jobs}

    # --- annotations before the first run ---

    def _place(self) -> None:
        rng = random.Random(f"{self.schedule.key}/place")
        kind = self.schedule.kind
        for job in self.jobs:
            frames = range(job.start_frame, job.stop_frame + 1)
            body: Tables = {"tags": [], "shapes": [], "tracks": []}
            for _ in range(rng.randint(0, 8)):
                source = rng.choice(["manual", "manual", "semi-auto", "file", "auto", "auto"])
                self._put(body, _stranger(rng), rng.choice(frames), source)
            for frame in frames if kind == "annotate" else ():
                for item in detections(self.schedule.key, self.names[frame]):
                    draw = rng.random()
                    if draw < 0.15:  # equal, made by a machine: an earlier run of the same function
                        self._put(body, item, frame, "auto")
                    elif draw < 0.3:  # equal, made by a human: that is his own
                        self._put(body, item, frame, rng.choice(["manual", "semi-auto"]))
            if self.schedule.layout != "gt_pool":
                body["tracks"] = [self._track(rng, frames) for _ in range(rng.choice([0, 0, 1, 2]))]
            self._insert(job.id, body)

    def _put(self, body: Tables, item: Json, frame: int, source: str) -> None:
        sent: Json = {"frame": frame, "label_id": self.label_ids[item["label"]], "source": source}
        if item["kind"] == "tag":
            body["tags"].append(sent)
            return
        sent |= {"type": item["kind"], "score": item["score"]}
        if item["kind"] == "skeleton":
            sent["elements"] = [
                {"type": "points", "frame": frame, "label_id": self.label_ids[name], "points": points,
                 "source": source}
                for name, points in item["elements"].items()
            ]  # fmt: skip
        else:
            sent["points"] = item["points"]
        values = item.get("attributes") or {}
        sent["attributes"] = [{"spec_id": self.spec_ids[name], "value": v} for name, v in values.items()]
        body["shapes"].append(sent)

    def _track(self, rng: random.Random, frames: range) -> Json:
        shown = sorted(rng.sample(frames, min(len(frames), rng.randint(1, 3))))
        return {
            "frame": shown[0],
            "label_id": self.label_ids["scene"],  # else it might look like a shape made from a detection
            "source": rng.choice(["manual", "auto"]),
            "shapes": [
                {"type": "rectangle", "frame": frame, "points": [1, 2, 3 + frame, 9], "outside": False}
                for frame in shown
            ],
        }

    def _insert(self, job_id: int, body: Tables, *, new: bool = True) -> None:
        with self.server._state.database.write() as db:
            self._insert_in(db, job_id, body, new=new)

    def _insert_in(self, db: Any, job_id: int, body: Tables, *, new: bool) -> None:
        task = db.execute("SELECT * FROM task WHERE id = ?", (self.task_id,)).fetchone()
        annotation_store.insert(
            db, job_id, validate_annotations(body, new=new), annotation_store.Labels(db, task)
        )

    # --- the human ---

    def work(self, is_seen: Callable[[], bool]) -> None:
        """Perform the actions of the human in the schedule.

        Args:
            is_seen: Whether a run has written something.
        """
        deadline = time.monotonic() + 2
        while self.schedule.deeds_from == "first write" and not is_seen() and time.monotonic() < deadline:
            time.sleep(0.005)
        for deed in self.schedule.human:
            time.sleep(deed.pause)
            self._do(deed)

    def _do(self, deed: Deed) -> None:
        rng = random.Random(deed.seed)
        job = rng.choice(self.jobs)
        if deed.what == "draw":
            body: Tables = {"tags": [], "shapes": [], "tracks": []}
            self._put(body, _stranger(rng), rng.randint(job.start_frame, job.stop_frame), "manual")
            with acting(self.human):
                self._insert(job.id, body)
            return
        with self.server._state.database.write() as db:
            there = sorted(stored(db, job.id).items())
            if not there:
                return
            key, item = rng.choice(there)
            # as CVAT's update does: it deletes the old one and adds the new one with the same id
            with acting(""):
                annotation_store.delete(db, job.id, validate_annotations(_body(key[0], item), new=False))
                if deed.what == "correct":
                    self._insert_in(db, job.id, _body(key[0], self._corrected(rng, key[0], item)), new=False)
                    item = stored(db, job.id)[key]
            with acting(self.human):
                note(deed.what, job.id, [(key[0], item)])

    def _corrected(self, rng: random.Random, kind: str, item: Json) -> Json:
        """An annotation corrected by the human; its source becomes manual."""
        changed = {**item, "source": rng.choice(["manual", "semi-auto"])}
        if kind == "tags":
            names = {number: name for name, number in self.label_ids.items()}
            other = "scene" if names[item["label_id"]] == "person" else "person"
            return {**changed, "label_id": self.label_ids[other]}
        if kind == "tracks":
            shapes = [{**shape, "points": _moved(shape["points"])} for shape in item["shapes"]]
            return {**changed, "shapes": shapes}
        if item["type"] == "skeleton":
            return {**changed, "z_order": item["z_order"] + 1}
        return {**changed, "points": _moved(item["points"])}


def _moved(points: list[float]) -> list[float]:
    return [value + 1 for value in points]


def _body(kind: str, item: Json) -> Tables:
    return {"tags": [], "shapes": [], "tracks": [], kind: [item]}


def _stranger(rng: random.Random) -> Json:
    """Something that no detection function of the soak ever finds."""
    x, y = rng.randint(10, 40) + 0.1, rng.randint(0, 30) + 0.1
    match rng.choice(["rectangle", "rectangle", "polygon", "tag", "skeleton"]):
        case "rectangle":
            y += rng.randint(0, 9) / 10
            points = [x, y, x + 5, y + 5]
            return {"kind": "rectangle", "label": "car", "points": points, "score": 0.5, "attributes": {}}
        case "polygon":
            return {"kind": "polygon", "label": "person", "points": [x, y, x + 5, y, x, y + 5], "score": 1}
        case "tag":
            return {"kind": "tag", "label": "person"}
        case _:
            elements = {"nose": [x, y], "tail": [x + 1, y + 1]}
            return {"kind": "skeleton", "label": "body", "elements": elements, "score": 0.25}


def _image(number: int) -> bytes:
    buffer = BytesIO()
    PIL.Image.new("RGB", (WIDTH, HEIGHT), (number * SHADE, 99, 9)).save(buffer, "PNG")
    return buffer.getvalue()
