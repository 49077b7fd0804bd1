"""refine_task under faults and kills, and run again: each shape is replaced once."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from ellipses import TOO_WIDE, Ellipses
from prefect_cvat import refine_task
from prefect_cvat.exceptions import ServerError
from prefect_cvat.upload import job_writer as upload
from prefect_cvat.upload.job_writer import JobWriter
from runs.refined_shapes import box, label_ids, place, shapes_of, state


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.4")


def crowded(client, make_task):
    """A task with overlapping jobs, equal originals, some that share a result, and some without a result.

    Where two are removed at a time, those that share a result are parted.
    """
    task_id = make_task(6, segment_size=4, overlap=1)
    first, second = client.jobs(task_id)
    ids = label_ids(client, task_id)
    place(
        client, first,
        box(ids["person"], 0, x=30),
        box(ids["car"], 0), box(ids["car"], 0),  # said twice
        box(ids["car"], 1), box(ids["car"], 1, source="file"),  # one mask for both
        box(ids["person"], 2, source="auto"), box(ids["person"], 2, width=TOO_WIDE),
        box(ids["car"], 3), {**box(ids["car"], 3, x=25), "type": "mask", "points": [0, 4, 25, 6, 26, 7]},
        tags=[{"frame": 1, "label_id": ids["car"], "source": "auto"}],
    )  # fmt: skip
    place(client, second, box(ids["car"], 3), box(ids["person"], 4), box(ids["person"], 5, x=30))
    return task_id


def undisturbed(client, make_task):
    task_id = crowded(client, make_task)
    report = refine_task(client, task_id, Ellipses())
    assert (report.refined, report.not_refined) == (8, 1)
    assert Counter(shape["type"] for shape in shapes_of(client, task_id)) == {
        "mask": 1 + 5 + 3,
        "rectangle": 1,
    }
    names = {name: str(number) for name, number in label_ids(client, task_id).items()}
    return neutral(state(client, task_id), names)


def neutral(items, names):
    """Without the numbers of labels, which differ from task to task."""
    for name, number in names.items():
        items = [item.replace(f'"label_id": {number},', f'"label_id": "{name}",') for item in items]
    return sorted(items)  # as numbers, 9 and 10 were in another order than 8 and 9


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 504, "when": "after"},
        {"kind": "reset", "when": "before"},
        {"kind": "late_commit", "answer": 504, "delay": 0.1},
    ],
    ids=lambda fault: f"{fault['kind']}-{fault.get('when', '')}",
)
@pytest.mark.parametrize("action", ["create", "delete"])
def test_second_run_after_any_interruption_equals_an_uninterrupted_run(
    client, make_task, faults, monkeypatch, fault, action
):
    wanted = undisturbed(client, make_task)
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    monkeypatch.setattr(JobWriter, "max_annotations", 2)
    broken = 0
    for after in range(20):
        task_id = crowded(client, make_task)
        rule = {"methods": ["PATCH"], "actions": [action], "path": "/annotations$", "fault": fault}
        faults.set([{**rule, "after": after, "times": 1}])
        with contextlib.suppress(ConnectionError):
            refine_task(client, task_id, Ellipses(), frames_per_batch=1)
        if not faults.log():
            break
        broken += 1
        faults.clear()
        report = None
        with contextlib.suppress(ValueError):  # nothing was left to be done
            report = refine_task(client, task_id, Ellipses())
        faults.wait()
        assert report is None or report.refined <= 8
        names = {name: str(number) for name, number in label_ids(client, task_id).items()}
        assert neutral(state(client, task_id), names) == wanted, f"broken off at {action} {after}"
    assert broken >= 4


def test_removes_duplicates_of_earlier_run_before_originals(client, make_task, faults, monkeypatch):
    """No later run would notice that it exists twice."""
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"]))
    refine_task(client, task_id, Ellipses(), keep_originals=True)
    [_, mask] = shapes_of(client, task_id)
    place(client, job, {name: value for name, value in mask.items() if name != "id"})
    monkeypatch.setattr(upload, "MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    monkeypatch.setattr(JobWriter, "max_annotations", 1)
    fault = {"kind": "status", "status": 504, "when": "before"}
    rule = {"methods": ["PATCH"], "actions": ["delete"], "path": "/annotations$", "fault": fault}
    faults.set([{**rule, "after": 1, "times": 1}])
    with pytest.raises(ServerError):
        refine_task(client, task_id, Ellipses())
    assert [shape["type"] for shape in shapes_of(client, task_id)] == ["rectangle", "mask"]
    refine_task(client, task_id, Ellipses())
    assert [shape["type"] for shape in shapes_of(client, task_id)] == ["mask"]


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 502, "when": "after"},
        {"kind": "reset", "when": "after"},
        {"kind": "late_commit", "answer": 504, "delay": 0.1},
    ],
    ids=lambda fault: fault["kind"],
)
def test_faults_cause_no_duplicates(client, make_task, faults, monkeypatch, fault):
    wanted = undisturbed(client, make_task)
    monkeypatch.setattr(JobWriter, "max_annotations", 2)
    task_id = crowded(client, make_task)
    faults.set([{"methods": ["PATCH"], "path": "/annotations$", "fault": fault, "probability": 0.5}], seed=3)
    refine_task(client, task_id, Ellipses(), frames_per_batch=1)
    assert len(faults.log()) >= 3
    faults.clear()
    faults.wait()
    names = {name: str(number) for name, number in label_ids(client, task_id).items()}
    assert neutral(state(client, task_id), names) == wanted


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["person"]}, "has no rectangle or points of label 'person' on the 2 frames"),
        ({"sources": ["auto"]}, "has no rectangle or points of source auto on"),
        ({"shape_types": ["points"]}, "has no points on the 2 frames"),
        ({"frames": [1]}, "has no rectangle or points on the 1 frame of the run"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_reports_nothing_to_refine(client, make_task, options, message):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"]))
    before = client.job_annotations(job.id)
    report = refine_task(client, task_id, Ellipses(), **options)
    assert message in report.nothing_to_do
    assert any(message in line for line in report.lines())
    assert client.job_annotations(job.id) == before


def test_second_run_has_nothing_to_refine(client, make_task):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"]))
    refine_task(client, task_id, Ellipses())
    before = client.job_annotations(job.id)
    again = refine_task(client, task_id, Ellipses())
    assert "so there is nothing to refine" in again.nothing_to_do
    assert (again.frames, again.added, again.removed) == (0, 0, 0)
    assert client.job_annotations(job.id) == before


SLOW = """
import sys, time
from ellipses import Ellipses
from prefect_cvat import Client, refine_task
from prefect_cvat.upload.sending import upload_queue

upload_queue.FIRST_WAIT = 0.0

class Slow(Ellipses):
    def detect(self, context, image, prompts):
        with open(sys.argv[4], "a") as log:
            print("asked", file=log)
        time.sleep(0.1)
        return super().detect(context, image, prompts)

client = Client(sys.argv[1])
client.login((sys.argv[2], "admin"))
refine_task(client, int(sys.argv[3]), Slow(), frames_per_batch=1)
"""


def test_killed_run_is_completed_by_the_next_run(sandbox, client, make_task, tmp_path):
    task_id = make_task(16, segment_size=6)
    car = label_ids(client, task_id)["car"]
    for job in client.jobs(task_id):
        place(client, job, *(box(car, frame) for frame in range(job.start_frame, job.stop_frame + 1)))
    log = tmp_path / "log"
    command = [sys.executable, "-c", SLOW, sandbox.url, sandbox.user, str(task_id), str(log)]
    folder = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder.parent}"}
    process = subprocess.Popen(command, env=environment)
    try:
        while not log.exists() or len(log.read_text().split()) < 9:
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    between = [shape["type"] for shape in shapes_of(client, task_id)]
    assert between.count("rectangle") == 16
    assert 0 < between.count("mask") < 16

    report = refine_task(client, task_id, Ellipses())

    assert [shape["type"] for shape in shapes_of(client, task_id)] == ["mask"] * 16
    assert sorted(shape["frame"] for shape in shapes_of(client, task_id)) == list(range(16))
    assert report.already_there == between.count("mask")


def test_removes_duplicates_of_two_runs_without_originals(client, make_task):
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    place(client, job, box(label_ids(client, task_id)["car"]))
    refine_task(client, task_id, Ellipses())
    [mask] = shapes_of(client, task_id)
    place(client, job, {name: value for name, value in mask.items() if name != "id"})
    place(client, job, {name: value for name, value in {**mask, "source": "manual"}.items() if name != "id"})
    report = refine_task(client, task_id, Ellipses())
    assert (report.removed, report.refined) == (1, 0)
    assert [shape["source"] for shape in shapes_of(client, task_id)] == [mask["source"], "manual"]
