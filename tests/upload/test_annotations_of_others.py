"""No run removes what another run has made, or what a person draws or corrects during the run."""

import json
import subprocess
import sys
import time
from collections import Counter

import pytest

from prefect_cvat import Client, annotate_task, refine_task, undo_run
from prefect_cvat.exceptions import BadFunctionError, RunInProgressError
from prefect_cvat.records import run_lock
from prefect_cvat.upload.job_writer import JobWriter
from task_annotations import Masks, annotations, boxes, draw, label_id, per_frame

pytestmark = pytest.mark.usefixtures("quick_retries")


def as_from_another_machine(monkeypatch, tmp_path):
    """From now on, locks are kept elsewhere: what has been begun keeps its own."""
    monkeypatch.setattr(run_lock, "cache_folder", lambda: tmp_path)


@pytest.mark.parametrize("frame", [0, 12, 39], ids=lambda frame: f"begins at {frame}")
def test_failed_run_removes_nothing_of_another_run(client, make_task, monkeypatch, tmp_path, frame):
    task_id = make_task(40, segment_size=11, chunk_size=5)

    def other(number):
        if number == frame:
            as_from_another_machine(monkeypatch, tmp_path)

            def fail(number):
                if number == 35:
                    raise ZeroDivisionError("told to")

            with pytest.raises(BadFunctionError):
                annotate_task(client, task_id, boxes(before=fail), use_cache=False)

    report = annotate_task(client, task_id, boxes(before=other), use_cache=False)
    assert (report.added, report.already_there) == (200, 0)
    assert per_frame(client, task_id) == dict.fromkeys(range(40), 5)


RUN = """
import sys, time
from pathlib import Path
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import BadFunctionError

url, password, task_id, go, bad, existing = sys.argv[1:]

class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    version = "1"

    def detect(self, context, image):
        number = int(context.frame_name[:4])
        time.sleep(0.01)
        if str(number) == bad:
            raise ZeroDivisionError("told to")
        return [rectangle(1, [2 * i, number % 30, 2 * i + 9, number % 30 + 9]) for i in range(5)]

with Client(url) as client:
    client.login(("admin", password))
    print("ready", flush=True)
    while not Path(go).exists():
        time.sleep(0.001)
    try:
        report = annotate_task(client, int(task_id), Boxes(), existing=existing)
    except BadFunctionError:
        sys.exit(3)
    print(report.added, report.already_there)
"""


@pytest.mark.parametrize("existing", ["keep", "clear"])
def test_failed_run_on_another_machine(client, sandbox, make_task, monkeypatch, tmp_path, existing):
    task_id = make_task(40, segment_size=11, chunk_size=5)
    for frame in range(0, 40, 4):
        draw(client, task_id, frame)
    processes = []
    for name, bad, url in (
        ("a", "-", sandbox.url),
        ("b", "35", sandbox.url.replace("127.0.0.1", "localhost")),
    ):
        monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path / name))
        monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / name / "runs"))
        command = [sys.executable, "-c", RUN, url, sandbox.password, str(task_id), str(tmp_path / "go"), bad]
        command.append(existing if name == "a" else "keep")
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    good, bad = processes
    said, _ = good.communicate(timeout=60)
    bad.communicate(timeout=60)
    assert bad.returncode == 3
    assert good.returncode == 0
    assert sum(map(int, said.split())) == 200
    found = Counter(item["frame"] for _, item in annotations(client, task_id) if item["source"] == "auto")
    assert found == dict.fromkeys(range(40), 5)
    manual = sum(item["source"] == "manual" for _, item in annotations(client, task_id))
    assert manual == (10 if existing == "keep" else 0)


def test_lock_is_the_same_for_two_spellings_of_a_server_address(client, sandbox, make_task):
    task_id = make_task(4)
    refused = []

    def other(number):
        with Client(sandbox.url.replace("127.0.0.1", "LocalHost") + "/") as again:
            again.login((sandbox.user, sandbox.password))
            try:
                annotate_task(again, task_id, boxes(), use_cache=False)
            except RunInProgressError as error:
                refused.append(str(error))

    annotate_task(client, task_id, boxes(before=other), use_cache=False)
    assert len(refused) == 4


def test_undo_removes_nothing_on_a_reinstalled_server(client, sandbox, make_task):
    task_id = make_task(4)
    report = annotate_task(client, task_id, boxes())
    there = annotations(client, task_id)
    with sandbox._state.database.write() as db:  # the same number, address and contents: another task
        db.execute("UPDATE task SET created_date = '2031-01-02T03:04:05.000006Z' WHERE id = ?", (task_id,))
    with pytest.raises(
        ValueError, match=r"was on another task .* it was created at 2031-01-02 .* nothing was removed"
    ):
        undo_run(client, report.run)
    assert annotations(client, task_id) == there


@pytest.mark.parametrize("to", ["mask", "polygon"])
def test_does_not_annotate_refined_shapes_again(client, make_task, monkeypatch, tmp_path, to):
    task_id = make_task(8)
    first = annotate_task(client, task_id, boxes(5))
    refine_task(client, task_id, Masks(), to=to)
    there = annotations(client, task_id)
    assert {shape["type"] for _, shape in there} == {to}
    monkeypatch.setenv("PREFECT_CVAT_CACHE_DIR", str(tmp_path))  # on another machine
    again = annotate_task(client, task_id, boxes(5))
    assert (first.added, again.added, again.already_there) == (40, 0, 40)
    assert annotations(client, task_id) == there


# --- corrections during a run ---


def correct(client, job_id, shape, **changes):
    """Correct a shape as CVAT's pages do: its id stays."""
    body = {"shapes": [{**shape, **changes}]}
    client.json("PATCH", f"/api/jobs/{job_id}/annotations", params={"action": "update"}, body=body)


def draw_many(client, job, count):
    """Put rectangles of source `auto` on the first frame of a job; return them as stored."""
    shape = {"type": "rectangle", "frame": 0, "label_id": label_id(client, job.task_id), "source": "auto"}
    shapes = [{**shape, "points": [i % 50, 1, i % 50 + 2, 9]} for i in range(count)]
    return client.create_job_annotations(job.id, {"shapes": shapes}).shapes


def test_correction_during_clearing_of_a_job_is_kept(client, make_task, monkeypatch):
    monkeypatch.setattr(JobWriter, "max_annotations", 20)
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    last = draw_many(client, job, 200)[-1]
    delete = type(client).delete_job_annotations
    calls = []

    def delete_and_correct(self, job_id, body):
        delete(self, job_id, body)
        calls.append(len(json.loads(body)["shapes"]))
        if len(calls) == 2:
            correct(client, job.id, last, points=[0, 0, 30, 30])  # its source stays unchanged

    monkeypatch.setattr(type(client), "delete_job_annotations", delete_and_correct)
    report = annotate_task(client, task_id, boxes(1), existing="clear")
    assert len(calls) > 2
    assert [item["points"] for _, item in annotations(client, task_id) if item["id"] == last["id"]] == [
        [0, 0, 30, 30]
    ]
    assert (report.removed, report.changed) == (199, 1)
    assert len(annotations(client, task_id)) == 3


def test_correction_between_reading_and_removal_is_kept(client, make_task, monkeypatch):
    monkeypatch.setattr(JobWriter, "max_annotations", 20)
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    stored = draw_many(client, job, 100)
    read = type(client).iter_job_annotations
    to_correct = stored[-3:]
    corrected = []
    deleted = []
    looks = []

    def read_and_correct(self, job_id):
        yield from read(self, job_id)
        looks.append(1)
        if (
            is_removing and to_correct and len(looks) % 2
        ):  # somebody saves just after the run has read the job
            corrected.append(to_correct.pop()["id"])
            shape = next(each for each in stored if each["id"] == corrected[-1])
            correct(client, job.id, shape, points=[0, 0, 30, 30])

    delete = type(client).delete_job_annotations
    monkeypatch.setattr(type(client), "iter_job_annotations", read_and_correct)
    monkeypatch.setattr(
        type(client), "delete_job_annotations", lambda *args: deleted.append(args) or delete(*args)
    )
    is_removing = False
    finish = JobWriter.finish

    def finish_slowly(self):
        nonlocal is_removing
        is_removing = True
        finish(self)

    monkeypatch.setattr(JobWriter, "finish", finish_slowly)
    report = annotate_task(client, task_id, boxes(1), existing="clear")
    left = [item for _, item in annotations(client, task_id) if item["points"] == [0, 0, 30, 30]]
    assert sorted(item["id"] for item in left) == sorted(corrected)
    assert len(corrected) == 3
    assert len(deleted) >= 2
    assert (report.removed, report.changed) == (97, 3)


def test_clear_keeps_annotations_made_after_the_first_write(client, make_task):
    task_id = make_task(12, segment_size=4, chunk_size=2)
    old = [draw(client, task_id, frame) for frame in range(12)]
    drawn = []

    def human(number):
        time.sleep(0.05)  # what has been detected is written by then
        if number == 6:  # of the jobs one is complete, one is at work, and one has not been reached
            drawn.extend(draw(client, task_id, frame, x=20)[1]["id"] for frame in (0, 5, 10))
            for job_id, shape in (old[1], old[5], old[11]):
                correct(client, job_id, shape, points=[0, 0, 40, 40])

    report = annotate_task(client, task_id, boxes(1, before=human), existing="clear", frames_per_batch=2)
    left = {item["id"] for _, item in annotations(client, task_id) if item["source"] == "manual"}
    assert left == {*drawn, *(old[i][1]["id"] for i in (1, 5, 11))}
    assert (report.removed, report.changed) == (9, 6)
    assert "not removed, drawn or changed by somebody during the run: 6" in report.lines()
