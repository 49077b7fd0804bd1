"""The number of requests of a run, and its behavior if the server refuses requests for the whole task."""

import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import pydantic_core
import pytest

from changing_proxy import changing_proxy
from loopback_server import LoopbackHandler, loopback_server
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle, tag
from prefect_cvat.cvat import annotation_reading
from prefect_cvat.exceptions import JobsChangedError, PrefectCvatError
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.upload.job_writer import JobWriter
from unknown_outcomes import with_each_unknown_outcome

OF_TASK = "/api/tasks/[0-9]+/annotations$"


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)
    # on a busy machine annotations would be sent before there are enough for a request
    monkeypatch.setattr("prefect_cvat.upload.sending.upload_queue.FIRST_WAIT", 60.0)


class Boxes:
    """Finds some cars and a person on each frame; does something before the frame with a number."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 0), label_spec("person", 1, type="tag")])

    def __init__(self, cars=2, before=-1, do=None):
        self.version = str(cars)
        self.cars, self.before, self.do = cars, before, do

    def detect(self, context, image):
        if int(context.frame_name[:4]) == self.before:
            self.do()
        corners = ((n % 50, n // 50) for n in range(self.cars))
        return [*(rectangle(0, [x, y, x + 9, y + 20], score=0.5) for x, y in corners), tag(1)]


@pytest.fixture
def scene(sandbox, client, make_task, faults):
    """Makes a task of small jobs, and counts requests."""
    labels = [label_spec("car", None), label_spec("person", None, type="tag")]

    def make(frames=12, **fields):
        return make_task(frames, labels=labels, chunk_size=6, **{"segment_size": 2, **fields})

    def annotate(task_id, *rules, function=None, by=client, **options):
        """Annotate a task; return the report and how many requests there were, by method and route."""
        faults.set([*rules, {"fault": {"kind": "latency", "seconds": 0}}])
        try:
            report = annotate_task(by, task_id, function or Boxes(), **options)
        finally:
            everything = len(rules)
            routes = Counter(
                (entry.method, re.sub("^/api/|(?<=/tasks)/[0-9]+", "", entry.path))
                for entry in faults.log()
                if entry.rule == everything
            )
            faults.clear()
        return report, routes

    def found(task_id):
        """How many annotations each frame has in its job."""
        jobs = [job for job in client.jobs(task_id) if job.type == "annotation"]
        return Counter(
            (job.id, annotation["frame"])
            for job in jobs
            for _, annotation in client.iter_job_annotations(job.id)
        )

    return SimpleNamespace(make=make, annotate=annotate, found=found)


def of_jobs(routes, method):
    return sum(count for (of, path), count in routes.items() if of == method and path.startswith("jobs/"))


def once_each(scene, task_id, count, frames=12):
    found = scene.found(task_id)
    return len(found) == frames and set(found.values()) == {count}


# --- numbers of requests ---


def test_task_is_read_twice_and_written_in_one_request_for_2000_annotations(scene):
    task_id = scene.make(frames=60, segment_size=1)
    report, routes = scene.annotate(task_id, function=Boxes(99))
    assert report.added == 6000
    assert routes["GET", "tasks/annotations"] == 2
    assert routes["PATCH", "tasks/annotations"] <= 4
    assert of_jobs(routes, "GET") == of_jobs(routes, "PATCH") == 0
    # task, media, labels, and jobs before and after
    others = sum(routes.values()) - routes["GET", "tasks/data"]
    assert others <= 5 + 2 + 4
    assert once_each(scene, task_id, 100, frames=60)


@pytest.mark.parametrize("overlap", [0, 1])
def test_second_run_reads_each_annotation_once(scene, overlap):
    task_id = scene.make(overlap=overlap)
    first, _ = scene.annotate(task_id)
    second, routes = scene.annotate(task_id)
    assert (second.added, second.already_there) == (0, first.added)
    jobs = len({job for job, _ in scene.found(task_id)})
    assert routes["GET", "tasks/annotations"] == (0 if overlap else 1)
    assert of_jobs(routes, "GET") == (jobs if overlap else 0)
    assert not any(method == "PATCH" for method, _ in routes)


def test_second_run_parses_each_annotation_of_the_task_once(client, scene, monkeypatch):
    task_id = scene.make()
    scene.annotate(task_id)
    [first, *_] = client.jobs(task_id)
    tag = {"frame": 0, "label_id": client.labels(task_id)[1].id, "source": "auto"}
    client.create_job_annotations(first.id, {"tags": [tag]})  # as a run on another machine may leave it
    parsed = []
    monkeypatch.setattr(
        annotation_reading, "from_json", lambda line: parsed.append(line) or pydantic_core.from_json(line)
    )
    report, _ = scene.annotate(task_id)
    assert (report.added, report.already_there, report.removed) == (0, 36, 1)
    assert once_each(scene, task_id, 3)
    # the tags and the shapes of each job, and once more those of the job with a duplicate
    assert len(parsed) == 6 * 2 + 2


def test_second_run_verifies_when_somebody_has_written_to_the_task_meanwhile(client, scene):
    task_id = scene.make()
    scene.annotate(task_id)
    [first, *_] = client.jobs(task_id)

    def delete():
        client.delete_job_annotations(first.id, {"shapes": client.job_annotations(first.id).shapes[:1]})

    _, routes = scene.annotate(
        task_id, function=Boxes(before=9, do=delete), frames_per_batch=6, use_cache=False
    )
    assert routes["GET", "tasks/annotations"] == 2
    assert once_each(scene, task_id, 3)


def test_jobs_that_overlap_take_three_requests_each(scene):
    task_id = scene.make(overlap=1)
    report, routes = scene.annotate(task_id)
    jobs = len({job for job, _ in scene.found(task_id)})
    assert of_jobs(routes, "GET") == 2 * jobs
    assert of_jobs(routes, "PATCH") == jobs
    assert not any(path == "tasks/annotations" for _, path in routes)
    assert report.added == sum(scene.found(task_id).values())


def test_four_jobs_that_overlap_are_read_and_written_at_a_time(sandbox, scene):
    task_id = scene.make(overlap=1)
    under_way, most, lock = Counter(), Counter(), threading.Lock()

    def slow(method, path, reply):
        if "/annotations" in path:
            with lock:
                under_way[method] += 1
                most[method] = max(most[method], under_way[method])
            time.sleep(0.3)
            with lock:
                under_way[method] -= 1
        return reply

    with changing_proxy(sandbox.url, slow) as address, Client(address) as client:
        client.login((sandbox.user, sandbox.password))
        scene.annotate(task_id, by=client, frames_per_batch=12)
    assert most == {"GET": 4, "PATCH": 4}


def test_removal_does_not_read_jobs_that_were_empty(scene):
    task_id = scene.make()
    _, routes = scene.annotate(task_id, existing="clear")
    assert of_jobs(routes, "GET") == 0
    report, routes = scene.annotate(task_id, function=Boxes(3), existing="clear", frames=range(2))
    assert report.removed == 0  # the existing annotations match the detections
    assert once_each(scene, task_id, 3, frames=10) is False


# --- where requests about the task are refused ---


@pytest.mark.parametrize("status", [500, 504])
def test_reads_jobs_if_reading_the_task_fails(sandbox, scene, status):
    task_id = scene.make()
    failure = {"methods": ["GET"], "path": OF_TASK, "fault": {"kind": "status", "status": status}}
    policy = RetryPolicy(give_up_after_500=0.5, first_delay=0.05)
    with Client(sandbox.url, retry=policy) as client:
        client.login((sandbox.user, sandbox.password))
        report, routes = scene.annotate(task_id, failure, by=client)
    assert (report.added, report.missing) == (36, 0)
    assert of_jobs(routes, "GET") == 12
    if status == 504:  # it may take as long again
        assert routes["GET", "tasks/annotations"] == 1
    assert once_each(scene, task_id, 3)


@contextmanager
def refusing_proxy(url, method, status):
    """Refuse requests about the annotations of a task, and pass on all others."""

    class Handler(LoopbackHandler):
        def _answer(self):
            if self.command == method and re.search(OF_TASK, self.path.partition("?")[0]):
                self.read_body()
                self.send_response(status)
                content, kind = b"<html>refused</html>", "text/html"
            else:
                answer = self.forward(url)
                self.send_response(answer.status_code)
                content, kind = answer.content, answer.headers.get("Content-Type", "")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer

    with loopback_server(Handler) as address:
        yield address


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize("status", [400, 403, 413])
def test_writes_to_jobs_if_the_server_refuses_requests_for_the_task(sandbox, scene, method, status):
    task_id = scene.make()
    with refusing_proxy(sandbox.url, method, status) as address, Client(address) as client:
        client.login((sandbox.user, sandbox.password))
        report, routes = scene.annotate(task_id, by=client)
    assert (report.added, of_jobs(routes, method)) == (36, 6 if method == "PATCH" else 12)
    assert once_each(scene, task_id, 3)


def test_reads_jobs_if_the_annotations_of_the_task_are_too_large(scene, monkeypatch):
    monkeypatch.setattr("prefect_cvat.cvat.annotation_reading.MAX_TASK_BYTES", 2000)
    task_id = scene.make()
    scene.annotate(task_id)
    report, routes = scene.annotate(task_id)
    assert report.already_there == 36
    assert of_jobs(routes, "GET") == 6


@with_each_unknown_outcome
@pytest.mark.parametrize("times", [1, 5])
def test_writes_each_annotation_once_if_the_outcome_of_a_task_write_is_unknown(
    scene, faults, monkeypatch, fault, times
):
    monkeypatch.setattr(JobWriter, "max_annotations", 12)
    task_id = scene.make()
    report, _ = scene.annotate(
        task_id, {"methods": ["PATCH"], "path": OF_TASK, "fault": fault, "times": times}
    )
    faults.wait()
    assert (report.added, report.missing, report.unsettled) == (36, 0, 0)
    assert once_each(scene, task_id, 3)


def test_partially_stored_task_write_is_undone(scene):
    task_id = scene.make()
    lossy = {"methods": ["PATCH"], "path": OF_TASK, "fault": {"kind": "store_part", "share": 0.5}}
    report, _ = scene.annotate(task_id, {**lossy, "times": 1})
    assert (report.added, report.missing) == (36, 0)
    assert once_each(scene, task_id, 3)


# --- changes during a run ---


def test_tracks_of_others_are_read_from_their_jobs(client, scene):
    task_id = scene.make()
    car = client.labels(task_id)[0].id
    keyframe = {"type": "rectangle", "points": [1.0, 1.0, 9.0, 9.0], "outside": False}
    for job in client.jobs(task_id)[:2]:
        track = {"frame": job.start_frame, "label_id": car, "source": "auto",
                 "shapes": [{**keyframe, "frame": job.start_frame}]}  # fmt: skip
        client.create_job_annotations(job.id, {"tracks": [track]})
    report, routes = scene.annotate(task_id, existing="replace_auto")
    assert (report.removed, report.changed) == (2, 0)
    assert routes["GET", "tasks/annotations"] == 2
    assert once_each(scene, task_id, 3)


def test_jobs_can_be_completed_and_assigned_during_a_run(client, scene):
    task_id = scene.make()
    [job, *_] = client.jobs(task_id)

    def complete():
        body = {"state": "completed", "stage": "acceptance", "assignee": client.user().id}
        client.json("PATCH", f"/api/jobs/{job.id}", body=body)

    report, _ = scene.annotate(task_id, function=Boxes(before=8, do=complete), frames_per_batch=6)
    assert report.added == 36
    assert once_each(scene, task_id, 3)


@pytest.mark.parametrize("change", ["shorter", "gone"])
def test_jobs_changed_during_a_run_are_named(sandbox, client, scene, change):
    task_id = scene.make()
    [first, second, *_] = client.jobs(task_id)

    def divide():
        with sandbox._state.database.write() as db:
            if change == "gone":
                db.execute("DELETE FROM job WHERE id = ?", (first.id,))
                db.execute("UPDATE job SET start_frame = 0 WHERE id = ?", (second.id,))
            else:
                db.execute("UPDATE job SET stop_frame = 0 WHERE id = ?", (first.id,))
                db.execute("UPDATE job SET start_frame = 1 WHERE id = ?", (second.id,))

    happened = {"shorter": r"had frames 0-1 and has 0-0", "gone": r"\(frames 0-1\) is gone"}[change]
    with pytest.raises(JobsChangedError, match=rf"job {first.id} {happened}.*Run it again"):
        scene.annotate(task_id, function=Boxes(before=8, do=divide), frames_per_batch=6)
    report, _ = scene.annotate(task_id)
    assert report.added + report.already_there == 36
    assert once_each(scene, task_id, 3)


@pytest.mark.usefixtures("sent_at_once")
def test_annotations_added_by_others_during_a_run_stay(client, scene):
    task_id = scene.make()
    car = client.labels(task_id)[0].id
    drawn = []

    def draw():
        for job in client.jobs(task_id):
            shape = {"type": "rectangle", "frame": job.start_frame, "label_id": car, "source": "manual",
                     "points": [0.0, 0.0, 9.0, 20.0]}  # fmt: skip
            drawn.extend(client.create_job_annotations(job.id, {"shapes": [shape]}).shapes)

    def fail():
        draw()
        raise ValueError

    with pytest.raises(PrefectCvatError):
        scene.annotate(task_id, function=Boxes(before=11, do=fail), frames_per_batch=6)
    left = [each for job in client.jobs(task_id) for _, each in client.iter_job_annotations(job.id)]
    assert [each["id"] for each in left] == [each["id"] for each in drawn]
    scene.annotate(
        task_id, function=Boxes(before=8, do=draw), frames_per_batch=6, existing="clear", use_cache=False
    )
    assert Counter(scene.found(task_id).values()) == {3: 6, 4: 6}


def test_annotations_are_sent_during_the_run(client, scene, monkeypatch):
    monkeypatch.setattr("prefect_cvat.upload.sending.upload_queue.FIRST_WAIT", 60.0)
    seen = []
    task_id = scene.make(24, segment_size=24)

    class Slow(Boxes):
        def detect(self, context, image):
            time.sleep(0.1)
            return super().detect(context, image)

    function = Slow(before=23, do=lambda: seen.append(len(client.task_annotations(task_id).shapes)))
    scene.annotate(task_id, function=function)
    assert seen[0] > 0
