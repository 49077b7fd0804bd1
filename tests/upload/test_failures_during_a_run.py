"""Wrong responses, and changes to a task, its labels or the disk during a run."""

import io
import pathlib
import zipfile

import pytest

from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import (
    BadFunctionError,
    BadRequestError,
    InvalidResponseError,
    MediaError,
    NotFoundError,
    StorageError,
    TooManyRequestsError,
)
from served_chunks import with_chunks
from task_annotations import boxes


class Boxes:
    version = "1"
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

    def __init__(self, at_frame=None, then=None):
        self.at_frame, self.then = at_frame, then

    def detect(self, context, image):
        if context.frame_name == self.at_frame:
            self.then()
        return [rectangle(1, [0, 0, 9, 9], score=0.5)]


def frames_annotated(client, task_id):
    return sorted(s["frame"] for job in client.jobs(task_id) for s in client.job_annotations(job.id).shapes)


def change_chunk(monkeypatch, number, change):
    with_chunks(monkeypatch, lambda params, data: change(data) if params["number"] == number else data)


def without_last_member(data):
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist()[:-1]:
            target.writestr(name, source.read(name))
    return buffer.getvalue()


def with_another_picture(data):
    from pictures import picture

    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            target.writestr(name, picture(10, 10))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_last_member, "chunk 2 .frames 4-5. holds 1 image where 2 were expected"),
        (with_another_picture, r"frame 4 \(0004.png\) is 10x10 pixels, but the task says 64x48"),
        (lambda data: data[: len(data) // 2], "chunk 2 .frames 4-5. is not a readable zip file"),
        (lambda data: b"<html>an error page</html>", "chunk 2 .* is not a readable zip file"),
    ],
    ids=["too few images", "other sizes", "truncated", "a page"],
)
def test_invalid_chunks_are_refused(client, make_task, monkeypatch, change, message):
    task_id = make_task(8)
    with monkeypatch.context() as patched:
        change_chunk(patched, 2, change)
        with pytest.raises(MediaError, match=rf"^task {task_id}, batch 2 \(frames 4-5\): .*{message}"):
            annotate_task(client, task_id, Boxes(), frames_per_batch=2)
    assert frames_annotated(client, task_id) == []
    report = annotate_task(client, task_id, Boxes())
    assert frames_annotated(client, task_id) == list(range(8))
    assert report.frames_from_cache >= 4


def test_meta_that_contradicts_the_task_is_refused(client, make_task, monkeypatch):
    task_id = make_task(4)
    original = Client.meta

    def lie(self, task_id):
        meta = original(self, task_id)
        return meta.model_copy(update={"frames": meta.frames[:-1]})

    monkeypatch.setattr(Client, "meta", lie)
    with pytest.raises(InvalidResponseError, match=f"task {task_id} has 4 frames, .* describes 3"):
        annotate_task(client, task_id, Boxes())


def test_task_deleted_during_the_run(client, make_task):
    task_id = make_task(8)
    delete = lambda: client._transport.json("DELETE", f"/api/tasks/{task_id}")  # noqa: E731
    with pytest.raises(NotFoundError, match=rf"^task {task_id}, batch \d \(frames"):
        annotate_task(client, task_id, Boxes("0002.png", delete), frames_per_batch=2)


def test_label_deleted_during_the_run(client, make_task):
    task_id = make_task(8)
    car = client.labels(task_id)[0]

    def delete():
        body = {"labels": [{"id": car.id, "deleted": True}]}
        client._transport.json("PATCH", f"/api/tasks/{task_id}", body=body)

    with pytest.raises(BadRequestError, match=rf"^task {task_id}, batch \d \(frames .*label"):
        annotate_task(client, task_id, Boxes("0004.png", delete), frames_per_batch=2)


def test_a_full_disk(client, make_task, monkeypatch):
    task_id = make_task(8)
    original = pathlib.Path.open

    def full(self, *args, **options):
        return original(pathlib.Path("/dev/full") if self.name == "chunk-2.zip" else self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pathlib.Path, "open", full)
        with pytest.raises(StorageError, match=rf"^task {task_id}, batch 2 .*No space left"):
            annotate_task(client, task_id, Boxes(), frames_per_batch=2)
    annotate_task(client, task_id, Boxes())
    assert frames_annotated(client, task_id) == list(range(8))


def test_slowly_prepared_chunks_are_awaited(sandbox, client, make_task):
    task_id = make_task(6)
    rule = {
        "path": "/data$",
        "query": "type=chunk",
        "per_path": True,
        "times": 2,
        "fault": {"kind": "throttle", "retry_after": 0},
    }
    sandbox.faults.set([rule])
    try:
        annotate_task(client, task_id, Boxes())
        assert len(sandbox.faults.log()) == 6
    finally:
        sandbox.faults.clear()
    assert frames_annotated(client, task_id) == list(range(6))


def test_permanently_busy_server_fails_the_run_and_the_next_run_continues(sandbox, make_task, client):
    from prefect_cvat import Client
    from prefect_cvat.http.retry_policy import RetryPolicy

    task_id = make_task(8)
    impatient = Client(sandbox.url, retry=RetryPolicy(give_up_after=1, first_delay=0.1))
    impatient.login((sandbox.user, sandbox.password))
    busy = {
        "path": "/data$",
        "query": "number=2",
        "fault": {"kind": "throttle", "retry_after": 10},
    }
    sandbox.faults.set([busy])
    try:
        with pytest.raises(TooManyRequestsError, match=rf"^task {task_id}, batch 2 .*429"):
            annotate_task(impatient, task_id, Boxes(), frames_per_batch=2)
    finally:
        sandbox.faults.clear()
    before = frames_annotated(client, task_id)
    assert before[:4] == [0, 1, 2, 3]
    assert not {4, 5} & set(before)
    report = annotate_task(impatient, task_id, Boxes())
    assert (report.added, report.already_there) == (8 - len(before), len(before))
    assert report.frames_from_cache >= len(before)


def test_run_with_all_frames_skipped_after_errors_is_not_complete(client, make_task):
    task_id = make_task(3)

    def fail(_number):
        raise ZeroDivisionError("told to")

    with pytest.raises(
        BadFunctionError, match=r"failed on all of 3 frames, on frame 0 with: .*ZeroDivisionError"
    ):
        annotate_task(client, task_id, boxes(before=fail), on_frame_error="skip", use_cache=False)
    some = annotate_task(
        client,
        task_id,
        boxes(before=lambda number: fail(number) if number else None),
        on_frame_error="skip",
        use_cache=False,
    )
    assert (some.added, sorted(some.frame_errors)) == (5, [1, 2])
