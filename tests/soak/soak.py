"""Try to make uploads lose, double or harm annotations: seeded schedules of faults, kills and failures.

`python tests/soak/soak.py --schedules 300 --seed 1` plays schedules one after another until they or the minutes
are used up. Each makes a task in a sandbox, lets human and machine work stand in it, sets faults, and runs
`annotate_task` in a process of its own, which may be killed at any moment and is run again until it succeeds.
Then what the database holds is compared with what must be there. That is worked out here from the settings of the
schedule alone: nothing of upload.py or identity.py is used for it.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import PIL.Image

from prefect_cvat import Client, annotate_task, pipeline, upload
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    checkbox_attribute_spec,
    keypoint,
    keypoint_spec,
    label_spec,
    polygon,
    rectangle,
    select_attribute_spec,
    skeleton,
    skeleton_label_spec,
    tag,
)
from prefect_cvat.exceptions import PrefectCvatError, is_transient
from prefect_cvat.models import AttributeValRequest
from prefect_cvat.sandbox import Sandbox, annotation_store
from prefect_cvat.sandbox.annotation_schema import accept
from prefect_cvat.transport import RetryPolicy

Json = dict[str, Any]
Tables = dict[str, list[Json]]

WIDTH, HEIGHT = 64, 48
READ_TIMEOUT = 0.4
LONGEST_DELAY = 0.6  # of a late commit after its client has given up
LATE_COMMIT_SECONDS = 2.0
MOST_RUNS_WITH_FAULTS = 7
PLURAL = {"tag": "tags", "shape": "shapes", "track": "tracks"}


# --- what the function detects: neutral, so that the oracle can use it too ---


def detections(key: str, name: str) -> list[Json]:
    """What is to be found on the image of this name; the same each time."""
    rng = random.Random(f"{key}/{name}")
    found: list[Json] = []
    for _ in range(rng.randint(0, 4)):
        kind = rng.choice(["rectangle", "rectangle", "polygon", "tag", "skeleton"])
        x, y = rng.randint(0, 120) / 4, rng.randint(0, 80) / 4
        item: Json = {"kind": kind, "score": rng.randint(1, 1000) / 1000}
        if kind == "rectangle":
            item |= {"label": "car", "points": [x, y, x + rng.randint(1, 40) / 4, y + 5.5]}
            item["attributes"] = {"size": rng.choice("sml")} if rng.random() < 0.5 else {}
        elif kind == "polygon":
            item |= {"label": "person", "points": [x, y, x + 9, y, x + 1 / 3, y + 7]}
        elif kind == "tag":
            item |= {"label": "scene"}
        else:
            item |= {"label": "body", "elements": {"nose": [x, y], "tail": [x + 2.25, y + 1]}}
        found.append(item)
        if rng.random() < 0.2:
            found.append(item)  # an equal duplicate
    return found


def labels() -> list[Any]:
    return [
        label_spec(
            "car",
            1,
            attributes=[
                select_attribute_spec("size", 11, list("sml"), default_value="m"),
                checkbox_attribute_spec("shy", 12, default_value="false"),
            ],
        ),
        label_spec("person", 2),
        label_spec("scene", 3),
        skeleton_label_spec("body", 4, [keypoint_spec("nose", 41), keypoint_spec("tail", 42)], svg=""),
    ]


def function(key: str, bad_name: str | None, seconds: float) -> Any:
    def annotation(item: Json) -> Any:
        match item["kind"]:
            case "rectangle":
                values = [AttributeValRequest(spec_id=11, value=v) for v in item["attributes"].values()]
                return rectangle(1, item["points"], score=item["score"], attributes=values)
            case "polygon":
                return polygon(2, item["points"], score=item["score"])
            case "tag":
                return tag(3)
            case _:
                elements = item["elements"]
                return skeleton(
                    4,
                    [keypoint(41, elements["nose"]), keypoint(42, elements["tail"])],
                    score=item["score"],
                )

    def detect(context: Any, _image: Any) -> list[Any]:
        time.sleep(seconds)
        if context.frame_name == bad_name:
            raise ZeroDivisionError("told to")
        return [annotation(item) for item in detections(key, context.frame_name)]

    return SimpleNamespace(spec=DetectionFunctionSpec(labels=labels()), detect=detect, version=key)


# --- a schedule: all that its seed decides ---


@dataclass
class Schedule:
    key: str
    kind: str
    frames: int
    chunk_size: int
    segment_size: int
    overlap: int
    deleted: list[int]
    existing: str
    selected: list[int] | None
    batch_size: int | None
    rules: list[Json]
    attempts_of_a_write: int
    kills: list[tuple[str, float, float]]
    is_bad_at_first: bool
    human_joins: bool
    seconds_per_frame: float
    stages_are_retried: bool


def schedule(key: str) -> Schedule:
    rng = random.Random(key)
    kind = rng.choices(["plain", "gt", "gt_pool", "consensus"], [7, 1, 1, 1])[0]
    frames = rng.randint(4, 14)
    segment_size = rng.choice([0, rng.randint(3, 6)]) if kind != "gt_pool" else rng.randint(3, 5)
    overlap = rng.choice([0, 1, 2]) if segment_size and kind == "plain" else 0
    existing = rng.choice(["keep", "clear", "replace_auto"])
    fails = rng.random() < 0.25
    rules = [_rule(rng) for _ in range(rng.randint(1, 5))]
    if fails:
        rules.insert(0, _failing_rule(rng))
    return Schedule(
        key=key,
        kind=kind,
        frames=frames,
        chunk_size=rng.randint(1, 5),
        segment_size=segment_size,
        overlap=overlap,
        deleted=sorted(rng.sample(range(frames), rng.choice([0, 0, 1, 2]))) if kind != "gt_pool" else [],
        existing=existing,
        selected=sorted(rng.sample(range(frames), rng.randint(1, frames))) if rng.random() < 0.25 else None,
        batch_size=rng.choice([None, 1, 3]),
        rules=rules,
        attempts_of_a_write=2 if fails else 8,
        kills=[_kill(rng) for _ in range(rng.randint(1, 4))] if rng.random() < 0.45 else [],
        is_bad_at_first=rng.random() < 0.15,
        human_joins=existing != "clear" and rng.random() < 0.3,
        seconds_per_frame=rng.choice([0, 0.01, 0.03]),
        stages_are_retried=rng.random() < 0.4,
    )


def _kill(rng: random.Random) -> tuple[str, float, float]:
    """When a process is to die: some seconds after so many writes were seen, or so many after its start."""
    if rng.random() < 0.8:
        return ("writes", rng.randint(1, 6), rng.choice([0, 0.002, 0.01, 0.03, 0.1, 0.3]))
    return ("seconds", 0, rng.uniform(0.05, 1.5))


def _failing_rule(rng: random.Random) -> Json:
    fault = rng.choice(
        [
            {"kind": "reset", "when": "after"},
            {"kind": "status", "status": 504, "when": "after"},
            {"kind": "late_commit", "answer": 504, "delay": round(rng.uniform(0.05, LONGEST_DELAY), 3)},
        ]
    )
    return {"methods": ["PATCH"], "path": "/annotations$", "times": 6, "probability": 0.9, "fault": fault}


def _rule(rng: random.Random) -> Json:
    rule: Json = dict(
        rng.choices(
            [
                {"methods": ["PATCH"], "path": "/annotations$"},
                {"methods": ["PATCH"], "path": "/annotations$", "actions": ["create"]},
                {"methods": ["PATCH"], "path": "/annotations$", "actions": ["delete"]},
                {"methods": ["GET"], "path": "/annotations$"},
                {"methods": ["GET"], "path": "/data$"},
                {},
            ],
            [6, 6, 3, 3, 1, 2],
        )[0]
    )
    when = rng.choice(["before", "after"])
    fault = rng.choice(
        [
            {"kind": "latency", "seconds": 0, "jitter": LONGEST_DELAY + READ_TIMEOUT, "when": when},
            {"kind": "bandwidth", "bytes_per_second": rng.choice([500, 5000])},
            {"kind": "throttle", "retry_after": rng.choice([0, 0, 1])},
            {"kind": "status", "status": rng.choice([500, 502, 503, 504]), "when": when},
            {"kind": "reset", "when": when},
            {"kind": "truncate"},
            {"kind": "corrupt"},
            {
                "kind": "late_commit",
                "answer": rng.choice([504, "reset"]),
                "seconds": rng.choice([0, 0.1]),
                "delay": round(rng.uniform(0.02, LONGEST_DELAY), 3),
            },
            {"kind": "expire_token"},
        ]
    )
    return rule | {
        "fault": fault,
        "probability": rng.choice([0.2, 0.5, 1]),
        "after": rng.choice([0, 0, 1, 3]),
        "times": rng.randint(1, 4),
    }


# --- one run, in a process of its own ---


def run_once(told: Json, answer: Any) -> None:
    """Annotate; tell how it ended."""
    os.environ["PREFECT_CVAT_CACHE_DIR"] = told["cache"]
    upload.JobWriter.retry_delay = 0.02
    upload.JobWriter.late_commit_seconds = LATE_COMMIT_SECONDS
    upload.ATTEMPTS = told["attempts"]
    logging.getLogger("prefect_cvat").setLevel(logging.CRITICAL)
    if told["stages_are_retried"]:  # as Prefect does
        pipeline._call = _call_again
    BREAKS[told["broken"]]()
    policy = RetryPolicy(give_up_after=1.5, first_delay=0.02, longest_delay=0.1)
    try:
        with Client(told["url"], timeout=(5.0, READ_TIMEOUT), retry=policy) as client:
            client.login((told["user"], told["password"]))
            annotate_task(
                client,
                told["task"],
                function(told["key"], told["bad_name"], told["seconds"]),
                existing=told["existing"],
                frames=told["frames"],
                batch_size=told["batch_size"],
            )
    except PrefectCvatError as error:
        answer.send(("failed", type(error).__name__, str(error)))
    except BaseException:
        answer.send(("crashed", "", traceback.format_exc()))
    else:
        answer.send(("done", "", ""))


def _call_again(method: Callable[..., Any], args: Any) -> Any:
    values = [arg.result() if isinstance(arg, Future) else arg for arg in args]
    for _ in range(3):
        try:
            return method(*values)
        except PrefectCvatError as error:
            if not is_transient(error):
                raise
            time.sleep(0.02)
    return method(*values)


def _no_settling() -> None:
    upload.JobWriter._settle = lambda *_: None  # type: ignore[method-assign]


def _no_verifying() -> None:
    upload.JobWriter._verify = lambda *_: None  # type: ignore[method-assign]


def _manual_is_auto() -> None:
    original = upload.JobWriter._read

    def read(self: Any) -> Iterator[tuple[str, Json]]:
        for kind, annotation in original(self):
            yield kind, {**annotation, "source": "auto"}

    upload.JobWriter._read = read  # type: ignore[method-assign]


def _no_waiting_for_late_commits() -> None:
    upload.JobWriter.late_commit_seconds = 0.0


def _no_word_of_the_run_before() -> None:
    upload.JobWriter.expect_late_commit = lambda _: None  # type: ignore[method-assign]


def _no_undoing() -> None:
    upload.JobWriter.undo = lambda _: None  # type: ignore[method-assign]


BREAKS: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "no-settling": _no_settling,
    "no-verifying": _no_verifying,
    "manual-is-auto": _manual_is_auto,
    "no-waiting": _no_waiting_for_late_commits,
    "no-word": _no_word_of_the_run_before,
    "no-undoing": _no_undoing,
}
"""What may be broken on purpose, to see that the soak notices. It does not notice `no-settling`: what is sent
twice for want of it is removed when the job is verified. tests/test_upload.py looks at the time between."""


# --- playing a schedule ---


@dataclass
class Outcome:
    key: str
    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    seconds: float = 0.0


class Play:
    """One schedule on one sandbox."""

    def __init__(self, key: str, server: Sandbox, *, broken: str = "") -> None:
        self.schedule = schedule(key)
        self.server = server
        self.broken = broken
        self.outcome = Outcome(key)
        self.rng = random.Random(f"{key}/play")
        self.cache = tempfile.mkdtemp(prefix="soak-cache-")

    def play(self) -> Outcome:
        started = time.monotonic()
        self.server.faults.set([])
        try:
            self._make_task()
            self._place()
            self._run_until_done()
        except Exception:
            self.outcome.problems.append(traceback.format_exc())
        finally:
            self.server.faults.clear()
            self.server.faults.wait(30)
            shutil.rmtree(self.cache, ignore_errors=True)
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    # the task

    def _make_task(self) -> None:
        plan = self.schedule
        fields: Json = {}
        if plan.segment_size:
            fields["segment_size"] = plan.segment_size
            fields["overlap"] = plan.overlap
        if plan.kind == "consensus":
            fields["consensus_replicas"] = 2
        data: Json = {"chunk_size": plan.chunk_size}
        if plan.kind in ("gt", "gt_pool"):
            data["validation_params"] = {
                "mode": plan.kind,
                "frame_selection_method": "random_uniform",
                "frame_count": 2,
                "random_seed": 1,
            }
        if plan.kind == "gt_pool":
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
            self.label_ids: dict[str, int] = {}
            self.spec_ids: dict[str, int] = {}
            for label in client.labels(task.id):
                self.label_ids[label.name] = label.id
                self.label_ids |= {sublabel.name: sublabel.id for sublabel in label.sublabels}
                self.spec_ids |= {attribute.name: attribute.id for attribute in label.attributes}
        self.label_names = {number: name for name, number in self.label_ids.items()}
        self.spec_names = {number: name for name, number in self.spec_ids.items()}
        if plan.selected is not None:
            plan.selected = [frame for frame in plan.selected if frame < len(self.names)]
        annotated = set(range(len(self.names)) if plan.selected is None else plan.selected)
        annotated -= set(plan.deleted)
        if plan.kind == "gt_pool":
            annotated -= {*(layout.validation_frames or ()), *(layout.honeypot_frames or ())}
        self.annotated = {
            job.id: {frame for frame in annotated if job.start_frame <= frame <= job.stop_frame}
            if job.type == "annotation"
            else set()
            for job in self.jobs
        }

    def _place(self) -> None:
        """Let human and machine work stand there beforehand, in all jobs, also those that are not written."""
        for job in self.jobs:
            frames = range(job.start_frame, job.stop_frame + 1)
            body: Tables = {"tags": [], "shapes": [], "tracks": []}
            for _ in range(self.rng.randint(0, 8)):
                frame = self.rng.choice(frames)
                source = self.rng.choice(["manual", "manual", "semi-auto", "file", "auto", "auto"])
                self._put(body, self._stranger(), frame, source)
            for frame in frames:
                for item in detections(self.schedule.key, self.names[frame]):
                    draw = self.rng.random()
                    if draw < 0.15:  # equal, made by a machine: an earlier run of the same function
                        self._put(body, item, frame, "auto")
                    elif draw < 0.3:  # equal, made by a human: that is his own
                        self._put(body, item, frame, self.rng.choice(["manual", "semi-auto"]))
            if self.schedule.kind != "gt_pool":
                body["tracks"] = [self._track(frames) for _ in range(self.rng.choice([0, 0, 1, 2]))]
            self._insert(job.id, body)
        self.before = self._read()

    def _stranger(self) -> Json:
        """Something that the function never detects."""
        x, y = self.rng.randint(0, 40) + 0.1, self.rng.randint(0, 30) + 0.1
        match self.rng.choice(["rectangle", "polygon", "tag", "skeleton"]):
            case "rectangle":
                points = [x, y, x + 5, y + 5]
                return {"kind": "rectangle", "label": "car", "points": points, "score": 0.5, "attributes": {}}
            case "polygon":
                return {
                    "kind": "polygon",
                    "label": "person",
                    "points": [x, y, x + 5, y, x, y + 5],
                    "score": 1,
                }
            case "tag":
                return {"kind": "tag", "label": "person"}
            case _:
                elements = {"nose": [x, y], "tail": [x + 1, y + 1]}
                return {"kind": "skeleton", "label": "body", "elements": elements, "score": 0.25}

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

    def _track(self, frames: range) -> Json:
        shown = sorted(self.rng.sample(frames, min(len(frames), self.rng.randint(1, 3))))
        return {
            "frame": shown[0],
            "label_id": self.label_ids["person"],
            "source": self.rng.choice(["manual", "auto"]),
            "shapes": [
                {"type": "rectangle", "frame": frame, "points": [1, 2, 3 + frame, 9], "outside": False}
                for frame in shown
            ],
        }

    # the database, past HTTP and so past all faults

    def _insert(self, job_id: int, body: Tables) -> None:
        with self.server._state.database.write() as db:
            task = db.execute("SELECT * FROM task WHERE id = ?", (self.task_id,)).fetchone()
            annotation_store.insert(db, job_id, accept(body, new=True), annotation_store.Labels(db, task))

    def _read(self) -> dict[int, Tables]:
        with self.server._state.database.read() as db:
            return {
                job.id: {PLURAL[table]: annotation_store.items(db, table, job.id) for table in PLURAL}
                for job in self.jobs
            }

    # the runs

    def _run_until_done(self) -> None:
        plan = self.schedule
        # A latency of nothing on each write puts it into the log: so it is known how many there were.
        probe = {"methods": ["PATCH"], "path": "/annotations$", "fault": {"kind": "latency", "seconds": 0}}
        self.server.faults.set([*plan.rules, probe], seed=self.rng.randint(0, 10**6))
        self.probe = len(plan.rules)
        human = None
        if plan.human_joins:
            human = threading.Thread(target=self._human)
            human.start()
        for number in range(1, MOST_RUNS_WITH_FAULTS + 5):
            if number > MOST_RUNS_WITH_FAULTS and self.server.faults.active:
                self._count_faults()
                self.server.faults.clear()
            kill = plan.kills[number - 1] if number <= len(plan.kills) else None
            is_bad = plan.is_bad_at_first and number == 1
            state, error, text = self._run(kill, is_bad)
            self.outcome.runs += 1
            if human is not None and (state == "done" or number == 1):
                human.join()
            if state == "done":
                break
            if state == "crashed":
                self.outcome.problems.append(text)
                return
            self.outcome.failures[error or "killed"] += 1
            self._check_nothing_is_lost()
            if number == 1 and error == "BadFunctionError" and is_bad:
                self._check_undone()
        else:
            self.outcome.problems.append(f"it never succeeds: {state} {error} {text}")
            return
        if self.server.faults.active:
            self._count_faults()
        self.server.faults.clear()
        self.server.faults.wait(30)
        time.sleep(0.05)
        self._check()

    def _count_faults(self) -> None:
        for entry in self.server.faults.log():
            if entry.rule != self.probe:
                self.outcome.faults[f"{entry.fault} {entry.when}"] += 1

    def _run(self, kill: tuple[str, float, float] | None, is_bad: bool) -> tuple[str, str, str]:
        plan = self.schedule
        receiver, sender = CONTEXT.Pipe(duplex=False)
        told = {
            "cache": self.cache,
            "attempts": plan.attempts_of_a_write,
            "broken": self.broken,
            "stages_are_retried": plan.stages_are_retried,
            "url": self.server.url,
            "user": self.server.user,
            "password": self.server.password,
            "task": self.task_id,
            "key": plan.key,
            "bad_name": self.names[-1] if is_bad and plan.kind != "gt_pool" else None,
            "seconds": plan.seconds_per_frame,
            "existing": plan.existing,
            "frames": plan.selected,
            "batch_size": plan.batch_size,
        }
        writes_before = self._writes()
        process = CONTEXT.Process(target=run_once, args=(told, sender))
        process.start()
        sender.close()
        if kill is not None:
            what, count, seconds = kill
            while what == "writes" and process.is_alive() and self._writes() - writes_before < count:
                time.sleep(0.001)
            process.join(seconds)
            if process.is_alive():
                process.kill()  # unlike os.kill, no error if it ends at this moment
        try:
            answer = receiver.recv() if receiver.poll(120) else ("crashed", "", "no end after 120 s")
        except EOFError:
            answer = ("killed", "", "")
            self.outcome.kills += 1
        if answer[2] == "no end after 120 s":
            process.kill()
        process.join()
        receiver.close()
        return answer

    def _writes(self) -> int:
        return sum(entry.method == "PATCH" for entry in self.server.faults.log())

    def _human(self) -> None:
        """Somebody draws a shape as soon as the first write has been seen."""
        deadline = time.monotonic() + 3
        while not self._writes() and time.monotonic() < deadline:
            time.sleep(0.002)
        job = self.rng.choice(self.jobs)
        body: Tables = {"tags": [], "shapes": [], "tracks": []}
        self._put(body, self._stranger(), job.start_frame, "manual")
        self._insert(job.id, body)
        known = {(kind, item["id"]) for kind, items in self.before[job.id].items() for item in items}
        for kind, items in self._read()[job.id].items():
            self.before[job.id][kind] += [
                item for item in items if (kind, item["id"]) not in known and item["source"] == "manual"
            ]

    # the oracle

    def _stays(self, job_id: int, kind: str, item: Json) -> bool:
        """Whether something that stood there before must be there afterwards, as it was."""
        annotated = self.annotated[job_id]
        frames = {shape["frame"] for shape in item["shapes"]} if kind == "tracks" else {item["frame"]}
        if not frames <= annotated:
            return True
        match self.schedule.existing:
            case "clear":
                return False
            case "replace_auto":
                return item["source"] != "auto"
        return True

    def _is_detected(self, job_id: int, item: Json) -> bool:
        return self._told(job_id, item) in self._detected(job_id)

    def _detected(self, job_id: int) -> Counter[Any]:
        return Counter(
            self._meant(job_id, frame, item)
            for frame in self.annotated[job_id]
            for item in detections(self.schedule.key, self.names[frame])
        )

    def _meant(self, job_id: int, frame: int, item: Json) -> Any:
        attributes = {}
        if item["label"] == "car":
            attributes = {"size": "m", "shy": "false", **item["attributes"]}
        elements = [
            (name, "points", tuple(points), 1.0) for name, points in (item.get("elements") or {}).items()
        ]
        return (
            job_id,
            frame,
            item["label"],
            None if item["kind"] == "tag" else item["kind"],
            "auto",
            tuple(item.get("points") or ()),
            None if item["kind"] == "tag" else item["score"],
            tuple(sorted(attributes.items())),
            tuple(sorted(elements)),
            (0, False, False, 0, 0) if item["kind"] != "tag" else (0,),
        )

    def _told(self, job_id: int, item: Json) -> Any:
        elements = [
            (self.label_names[e["label_id"]], e["type"], tuple(e["points"]), e["score"])
            for e in item.get("elements") or ()
        ]
        rest = ("group", "occluded", "outside", "z_order", "rotation")
        return (
            job_id,
            item["frame"],
            self.label_names[item["label_id"]],
            item.get("type"),
            item["source"],
            tuple(item.get("points") or ()),
            item.get("score"),
            tuple(sorted((self.spec_names[a["spec_id"]], a["value"]) for a in item["attributes"])),
            tuple(sorted(elements)),
            tuple(item[name] for name in rest if name in item),
        )

    def _check(self) -> None:
        after = self._read()
        problems = self.outcome.problems
        for job in self.jobs:
            old, new = self.before[job.id], after[job.id]
            if job.type != "annotation" and any(_by_id(old[kind]) != _by_id(new[kind]) for kind in old):
                problems.append(f"{job.type} job {job.id} was touched")
                continue
            detected = self._detected(job.id)
            expected = detected.copy()
            for kind, items in old.items():
                there = {item["id"]: item for item in new[kind]}
                for item in items:
                    if not self._stays(job.id, kind, item):
                        continue
                    if kind != "tracks" and self._told(job.id, item) in detected:
                        continue  # that one and what was detected are the same, and counted as such
                    if kind != "tracks":
                        expected[self._told(job.id, item)] += 1
                    if there.get(item["id"]) != item:
                        problems.append(
                            f"job {job.id}: was harmed: {json.dumps(item)} is now {there.get(item['id'])}"
                        )
            found = Counter(self._told(job.id, item) for kind in ("tags", "shapes") for item in new[kind])
            problems += [f"lost x{count}: {item}" for item, count in (expected - found).items()]
            problems += [f"too many x{count}: {item}" for item, count in (found - expected).items()]
            tracks = {item["id"] for item in old["tracks"] if self._stays(job.id, "tracks", item)}
            if extra := {item["id"] for item in new["tracks"]} - tracks:
                problems.append(f"job {job.id}: the tracks {extra} should have gone")

    def _check_nothing_is_lost(self) -> None:
        """After a run that failed: what stays is there, and what is gone has its replacement."""
        after = self._read()
        for job in self.jobs:
            detected = self._detected(job.id)
            found = Counter(
                self._told(job.id, item) for kind in ("tags", "shapes") for item in after[job.id][kind]
            )
            for kind, items in list(self.before[job.id].items()):
                there = {item["id"]: item for item in after[job.id][kind]}
                for item in list(items):
                    if there.get(item["id"]) == item:
                        continue
                    if kind != "tracks" and found[told := self._told(job.id, item)] and told in detected:
                        continue
                    if self._stays(job.id, kind, item) or detected - found:
                        self.outcome.problems.append(
                            f"a run that failed lost {json.dumps(item)}; not yet there: {detected - found}"
                        )

    def _check_undone(self) -> None:
        """After a run with a bad function: all is as it was."""
        self.server.faults.wait(30)
        after = self._read()
        for job in self.jobs:
            for kind, items in self.before[job.id].items():
                if sorted(map(json.dumps, items)) != sorted(map(json.dumps, after[job.id][kind])):
                    old, new = ({item["id"]: item for item in side} for side in (items, after[job.id][kind]))
                    self.outcome.problems.append(
                        f"job {job.id}: not undone: {kind} {set(new) - set(old)} came,"
                        f" {set(old) - set(new)} went"
                    )


def _by_id(items: list[Json]) -> dict[int, Json]:
    return {item["id"]: item for item in items}


def _image(seed: int) -> bytes:
    buffer = BytesIO()
    PIL.Image.new("RGB", (WIDTH, HEIGHT), (seed * 10 % 255, 99, 9)).save(buffer, "PNG")
    return buffer.getvalue()


# --- many schedules ---


CONTEXT = multiprocessing.get_context("forkserver")
# so that a process is there in milliseconds
CONTEXT.set_forkserver_preload(
    ["prefect_cvat.auto_annotation.annotate", "prefect_cvat.sandbox", "PIL.PngImagePlugin"]
)


def soak(
    keys: list[str], *, workers: int = 2, minutes: float | None = None, broken: str = ""
) -> Iterator[Outcome]:
    """Play schedules, `workers` at a time, each worker with a sandbox of its own."""
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    local = threading.local()
    servers: list[Sandbox] = []

    def play(key: str) -> Outcome | None:
        if deadline is not None and time.monotonic() > deadline:
            return None
        if not hasattr(local, "server"):
            local.server = Sandbox()
            local.server.start()
            servers.append(local.server)
        return Play(key, local.server, broken=broken).play()

    try:
        with ThreadPoolExecutor(workers) as pool:
            for future in as_completed([pool.submit(play, key) for key in keys]):
                outcome = future.result()
                if outcome is not None:
                    yield outcome
    finally:
        for server in servers:
            server.stop()


def keys_of(seed: int, numbers: range | list[int]) -> list[str]:
    return [f"{seed}/{number}" for number in numbers]


def summary(outcomes: list[Outcome]) -> Mapping[str, Any]:
    return {
        "schedules": len(outcomes),
        "with a problem": sum(bool(outcome.problems) for outcome in outcomes),
        "runs": sum(outcome.runs for outcome in outcomes),
        "killed": sum(outcome.kills for outcome in outcomes),
        "runs that did not succeed": dict(sum((o.failures for o in outcomes), Counter[str]()).most_common()),
        "faults": dict(sum((outcome.faults for outcome in outcomes), Counter[str]()).most_common()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="begin no further schedule after these")
    parser.add_argument("--workers", type=int, default=4, help="most of them only wait")
    parser.add_argument("--only", type=int, help="play the schedule of this number alone, and show it")
    parser.add_argument("--break", dest="broken", choices=list(BREAKS), default="", help="break the upload")
    options = parser.parse_args()
    numbers = range(options.schedules) if options.only is None else [options.only]
    if options.only is not None:
        print(schedule(f"{options.seed}/{options.only}"))
    started = time.monotonic()
    outcomes = []
    for outcome in soak(
        keys_of(options.seed, numbers),
        workers=options.workers,
        minutes=options.minutes,
        broken=options.broken,
    ):
        outcomes.append(outcome)
        if outcome.problems:
            seed, number = outcome.key.split("/")
            print(f"FAILED {outcome.key} ({outcome.runs} runs, {outcome.kills} kills, {outcome.failures})")
            for problem in outcome.problems[:6]:
                print(f"    {problem}")
            broken = f" --break {options.broken}" if options.broken else ""
            print(f"    again: python tests/soak/soak.py --seed {seed} --only {number}{broken}", flush=True)
    for what, value in summary(outcomes).items():
        print(f"{what}: {value}")
    print(f"{time.monotonic() - started:.0f} s")
    return any(outcome.problems for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
