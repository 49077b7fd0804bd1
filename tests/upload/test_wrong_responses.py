"""Responses and records that cannot be right: runs end, and nothing is written twice or lost."""

import os
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from prefect_cvat import Client, TrackOptions, annotate_task, track_task, undo_run
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import IncompleteRunError, InvalidResponseError, PrefectCvatError, UploadError
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.settings import Settings
from scripted_server import Answer, scripted_server
from task_annotations import CREATES, annotations, boxes, draw, per_frame
from upload.retried_runs import retried

pytestmark = pytest.mark.usefixtures("quick_retries")


def test_replaced_annotations_are_not_undone(client, make_task, monkeypatch):
    task_id = make_task(4, segment_size=2)
    jobs = client.jobs(task_id)
    for frame in range(4):
        draw(client, task_id, frame)
    delete, create = Client.delete_job_annotations, Client.create_job_annotations
    done = []

    def delete_and_lose(self, job_id, body):
        delete(self, job_id, body)
        if not done:
            done.append(1)  # somebody deletes a box of the run in the next job
            [first, *_] = client.job_annotations(jobs[1].id).shapes[-1:]
            delete(self, jobs[1].id, {"shapes": [first]})

    def create_less(self, job_id, body):
        answer = create(self, job_id, body)
        return answer.model_copy(update={"shapes": answer.shapes[1:]}) if done else answer

    monkeypatch.setattr("prefect_cvat.upload.sending.parallel_jobs.PARALLEL_REQUESTS", 1)
    monkeypatch.setattr(Client, "delete_job_annotations", delete_and_lose)
    monkeypatch.setattr(Client, "create_job_annotations", create_less)
    with pytest.raises(UploadError):
        annotate_task(client, task_id, boxes(), existing="clear", use_cache=False)
    assert set(per_frame(client, task_id)) == {0, 1, 2, 3}


def test_undo_of_a_record_from_the_future_does_not_hang(client, make_task, monkeypatch):
    task_id = make_task(2)
    report = annotate_task(client, task_id, boxes(1), use_cache=False)
    [job] = client.jobs(task_id)
    client.delete_job_annotations(job.id, {"shapes": client.job_annotations(job.id).shapes[:1]})
    for path in (Settings().runs_dir / report.run).glob("*.jsonl"):
        os.utime(path, (time.time() + 3600,) * 2)
    reads = []
    read = Client.iter_job_annotations

    def count(self, job_id):
        reads.append(1)
        if len(reads) > 20:
            raise AssertionError("reads without end")
        return read(self, job_id)

    monkeypatch.setattr(Client, "iter_job_annotations", count)
    assert undo_run(client, report.run).gone == 1


def test_429_with_retry_after_0_causes_few_requests():
    with scripted_server(Answer(429, headers={"Retry-After": "0"})) as server:
        client = Client(server.url, access_token="x", retry=RetryPolicy(give_up_after=1.0))
        with pytest.raises(PrefectCvatError):
            client.job_annotations(1)
    assert len(server.requests) < 10


def test_endless_pages():
    body = b'{"count": 0, "next": "http://x/?page=2", "results": []}'
    with scripted_server(*[Answer(200, body)] * 50, Answer(500, b"{}")) as server:
        client = Client(server.url, access_token="x", retry=RetryPolicy(give_up_after=0.0))
        with pytest.raises(InvalidResponseError):
            client.labels(1)
    assert len(server.requests) < 10


@pytest.mark.parametrize("bad", ["7", None, 2**70, 1.5, "missing"], ids=str)
def test_invalid_ids_are_refused(client, make_task, monkeypatch, bad):
    task_id = make_task(2)
    patch = Client._patch_annotations

    def lie(self, owner, action, body):
        answer = patch(self, owner, action, body)
        for shape in answer.shapes:
            if bad == "missing":
                del shape["id"]
            else:
                shape["id"] = bad
        return answer

    monkeypatch.setattr(Client, "_patch_annotations", lie)
    try:
        report = retried(client, task_id, boxes())
    except PrefectCvatError:
        report = None
    found = per_frame(client, task_id)
    assert max(found.values(), default=0) <= 5
    assert report is None or report.added == found.total()


@pytest.mark.parametrize("told", [0, 3])
def test_write_with_an_incomplete_response_is_undone(client, make_task, monkeypatch, told):
    task_id = make_task(2)
    create = Client.create_job_annotations

    def tell_less(self, job_id, body):
        answer = create(self, job_id, body)
        return answer.model_copy(update={"shapes": answer.shapes[:told]})

    monkeypatch.setattr(Client, "create_job_annotations", tell_less)
    with pytest.raises(UploadError) as raised:
        annotate_task(client, task_id, boxes(), use_cache=False)
    print(raised.value)
    assert annotations(client, task_id) == []


@pytest.mark.parametrize("existing", ["keep", "clear", "replace_auto"])
@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_server_that_stores_part_of_a_write_and_reports_all(client, make_task, faults, existing, times):
    task_id = make_task(12, segment_size=4)
    originals = [draw(client, task_id, frame, source="auto", x=50) for frame in range(12)]
    faults.set([{**CREATES, "fault": {"kind": "store_part", "share": 0.5}, "times": times}])
    if times is None:
        with pytest.raises(IncompleteRunError, match="not on the server, though sent again") as raised:
            annotate_task(client, task_id, boxes(), existing=existing)
        report = raised.value.report
    else:
        report = annotate_task(client, task_id, boxes(), existing=existing)
    faults.clear()
    there = annotations(client, task_id)
    new = Counter(item["frame"] for _, item in there if item["points"][0] != 50)
    old = {item["id"] for _, item in there} & {item["id"] for _, item in originals}
    complete = {frame for frame in range(12) if new[frame] == 5}
    assert report.added == new.total()
    assert report.missing == 60 - new.total()
    assert report.removed == 12 - len(old)
    assert {item["frame"] for _, item in originals if item["id"] in old} == (
        set(range(12)) if existing == "keep" else set(range(12)) - complete
    )
    if times is not None:
        assert new == dict.fromkeys(range(12), 5)
    elif existing != "keep":
        assert report.not_replaced == len(old)
    done = annotate_task(client, task_id, boxes(), existing=existing)  # the next run completes it
    assert done.added == 60 - new.total()
    assert per_frame(client, task_id) == dict.fromkeys(range(12), 6 if existing == "keep" else 5)


@pytest.mark.parametrize("existing", ["clear", "replace_auto"])
def test_missing_track_keeps_annotations_of_all_its_frames(client, make_task, faults, existing):
    task_id = make_task(8)
    old = [draw(client, task_id, frame, source="auto")[1]["id"] for frame in range(8)]
    still = SimpleNamespace(
        spec=DetectionFunctionSpec(labels=[label_spec("car", 1)]),
        detect=lambda *_: [rectangle(1, [5, 5, 25, 25])],  # keyframes on the first and the last frame
        version="still",
    )
    faults.set([{**CREATES, "fault": {"kind": "store_part", "share": 0}}])
    tracking = TrackOptions(min_length=1)
    with pytest.raises(IncompleteRunError) as raised:
        track_task(client, task_id, still, track_options=tracking, existing=existing)
    faults.clear()
    assert (raised.value.report.missing, raised.value.report.removed) == (1, 0)
    assert [item["id"] for _, item in annotations(client, task_id)] == old
    assert track_task(client, task_id, still, track_options=tracking, existing=existing).removed == 8
