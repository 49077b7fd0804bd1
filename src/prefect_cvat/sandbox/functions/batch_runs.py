"""Runs a function on all frames of a task or a job, as CVAT 2.73.

Annotations are deleted first, if that is asked for. Detections are written after each hundredth frame and at
the end. The first error ends the run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.annotations import annotation_store, task_annotations
from prefect_cvat.sandbox.annotations.annotation_body import Annotations, validate_annotations
from prefect_cvat.sandbox.annotations.annotation_writes import (
    by_job,
    insert_into_job,
    insert_into_jobs,
    mark_changed,
)
from prefect_cvat.sandbox.annotations.ground_truth_pool import apply_pool_rules
from prefect_cvat.sandbox.api.call import Call
from prefect_cvat.sandbox.api.reply import Json
from prefect_cvat.sandbox.batch_queue import Batch
from prefect_cvat.sandbox.functions.frames import Frames
from prefect_cvat.sandbox.functions.function_calls import detect, reidentify_payload
from prefect_cvat.sandbox.functions.function_record import Function
from prefect_cvat.sandbox.functions.gateway import Gateway
from prefect_cvat.sandbox.functions.label_mapping import map_labels
from prefect_cvat.sandbox.functions.region import Region
from prefect_cvat.sandbox.storage.database import Connection, Row
from prefect_cvat.sandbox.tasks.change_events import write_and_notify
from prefect_cvat.sandbox.tasks.labels import labels_of_task

FRAMES_PER_WRITE = 100


@dataclass(frozen=True)
class BatchRun:
    """A run of a function on frames, which writes what it finds.

    Attributes:
        call: The request that has started it.
        batch: Its progress is set; if it is removed, the run ends after the current frame.
        gateway: Where the function is called.
        function: The function, as it was when the batch was started.
        frames: The frames.
        body: The request.
        region: The part of the images that is sent.
    """

    call: Call
    batch: Batch
    gateway: Gateway
    function: Function
    frames: Frames
    body: Json
    region: Region | None

    def run(self) -> None:
        """Run it. Nothing is called for interactors and trackers."""
        if self.body.get("cleanup"):
            _clear(self.call, self.frames)
        if self.function.kind == "detector":
            self._detect()
        elif self.function.kind == "reid" and self.frames.numbers:
            self._reidentify()

    def _detect(self) -> None:
        with self.call.state.database.read() as db:
            labels = labels_of_task(db, self.frames.task)
        mapping = map_labels(self.function.labels, labels, self.body.get("mapping"))
        poly = bool(self.body.get("conv_mask_to_poly"))
        found = Annotations(tags=[], shapes=[], tracks=[])
        for number in self.frames.numbers:
            on_frame = detect(
                self.gateway,
                self.function,
                self.frames,
                number,
                mapping,
                self.body,
                self.region,
                conv_mask_to_poly=poly,
            )
            if not self._go_on(number):
                break
            found.tags.extend(on_frame.tags)
            found.shapes.extend(on_frame.shapes)
            if number and number % FRAMES_PER_WRITE == 0:
                _add(self.call, self.frames, found)
                found = Annotations(tags=[], shapes=[], tracks=[])
        _add(self.call, self.frames, found)

    def _reidentify(self) -> None:
        with self.call.state.database.read() as db:
            tags, shapes, tracks = _stored(db, self.frames)
        boxes: dict[int, list[Json]] = {number: [] for number in self.frames.numbers}
        others: list[Json] = []
        for shape in shapes:
            of_frame = boxes.get(shape["frame"]) if shape["type"] == "rectangle" else None
            (others if of_frame is None else of_frame).append(shape)
        paths: list[list[Json]] = []
        _start_paths(boxes[self.frames.numbers[0]], paths)
        for first, second in pairwise(self.frames.numbers):
            if boxes[first] and boxes[second]:
                pair = (boxes[first], boxes[second])
                payload = reidentify_payload(self.frames, (first, second), pair, self.body)
                for box, index in zip(
                    boxes[first], self.gateway.invoke(self.function, payload), strict=False
                ):
                    if index >= 0:
                        boxes[second][index]["path_id"] = box["path_id"]
                        paths[box["path_id"]].append(boxes[second][index])
            if not self._go_on(first):
                return
            _start_paths(boxes[second], paths)
        last = self.frames.numbers[-1]
        with self.call.state.database.read() as db:
            mutable = {
                attribute["id"]
                for label in labels_of_task(db, self.frames.task)
                for attribute in label["attributes"]
                if attribute["mutable"]
            }
        tracks = [*tracks, *(_track(path, last, mutable) for path in paths)]
        body = {"tags": tags, "shapes": others, "tracks": tracks}
        _clear(self.call, self.frames)
        _add(self.call, self.frames, validate_annotations(_without_ids(body), new=True))

    def _go_on(self, number: int) -> bool:
        """Note that a frame is done; whether to go on with the next one."""
        self.batch.progress = (number + 1) * 100 // self.frames.task["size"]
        return self.call.state.batches.has(self.batch)


def _start_paths(boxes: list[Json], paths: list[list[Json]]) -> None:
    for box in boxes:
        if "path_id" not in box:
            box["path_id"] = len(paths)
            paths.append([box])


def _track(path: list[Json], last: int, mutable: set[int]) -> Json:
    """A track of the boxes of a path; it ends on the frame after the last one."""
    keyframes = [{**box, "attributes": list(_attributes(box, mutable, True))} for box in path]
    if path[-1]["frame"] < last:
        keyframes.append({**keyframes[-1], "frame": path[-1]["frame"] + 1, "outside": True})
    names = ("type", "frame", "occluded", "outside", "z_order", "rotation", "points", "attributes")
    return {
        "label_id": path[0]["label_id"],
        "frame": path[0]["frame"],
        "group": path[0]["group"],
        "source": "auto",
        "attributes": list(_attributes(path[0], mutable, False)),
        "shapes": [{name: box[name] for name in names} for box in keyframes],
    }


def _attributes(box: Json, mutable: set[int], is_mutable: bool) -> Iterator[Json]:
    return (value for value in box["attributes"] if (value["spec_id"] in mutable) is is_mutable)


def _jobs(db: Connection, frames: Frames) -> list[Row]:
    return task_annotations.task_level_jobs(db, frames.task) if frames.job is None else [frames.job]


def _stored(db: Connection, frames: Frames) -> tuple[list[Json], list[Json], list[Json]]:
    jobs = _jobs(db, frames)
    tags, shapes, tracks = (
        [item for job in jobs for item in annotation_store.items(db, table, job["id"])]
        for table in annotation_store.TABLES
    )
    return tags, shapes, tracks


def _clear(call: Call, frames: Frames) -> None:
    with write_and_notify(call) as db:
        changed = annotation_store.clear(db, [job["id"] for job in _jobs(db, frames)])
        mark_changed(db, frames.task["id"], changed)


def _add(call: Call, frames: Frames, annotations: Annotations) -> None:
    if call.state.batches.is_closed:
        return
    with write_and_notify(call) as db:
        if frames.job is not None:
            insert_into_job(call, db, frames.job, annotations)
            mark_changed(db, frames.task["id"], [frames.job["id"]])
            return
        task = permissions.row_of(db, "task", frames.task["id"])
        if task is None:
            raise LookupError("the task was deleted")
        kept = apply_pool_rules(db, task, annotations, action="create")
        parts = insert_into_jobs(call, db, task, by_job(_jobs(db, frames), kept))
        mark_changed(db, task["id"], [job["id"] for job, _ in parts])


def _without_ids(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_ids(item) for name, item in value.items() if name != "id"}
    return [_without_ids(item) for item in value] if isinstance(value, list) else value
