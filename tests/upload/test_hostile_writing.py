"""Writing when stages are called again, runs are interrupted, disks are full and answers are hostile."""

import errno
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from prefect_cvat import Client, annotate_task, undo_run
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import (
    IncompleteRunError,
    InvalidResponseError,
    PrefectCvatError,
    RunInProgressError,
    ServerError,
    StorageError,
    UploadError,
)
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.options.run_options import Options
from prefect_cvat.records.run_lock import exclusive_run
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.settings import Settings
from prefect_cvat.upload import annotation_files
from prefect_cvat.upload.job_writer import JobWriter
from scripted_server import Answer, scripted_server
from task_annotations import (
    CREATES,
    READS,
    Masks,
    annotations,
    boxes,
    draw,
    label_id,
    per_frame,
)


@pytest.fixture(autouse=True)
def _is_quick(monkeypatch):
    monkeypatch.setattr(JobWriter, "retry_delay", 0.01)


class Retrying(ThreadSubmitter):
    """Calls a stage again after it raised, as Prefect does."""

    def submit(self, stage, run, *args):
        method = getattr(run, stage)

        def again(*args):
            try:
                return method(*args)
            except PrefectCvatError:
                return method(*args)

        return super().submit("again", SimpleNamespace(again=again), *args)


def retried(client, task_id, function, **options):
    run = AnnotateRun(client, task_id, function, Options(use_cache=False, **options))
    with Retrying() as threads:
        return run_pipeline(run, threads)


def test_500_after_the_commit_and_reads_that_lag(client, make_task, faults, monkeypatch):
    lag = 1.0
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "3")
    monkeypatch.setattr(JobWriter, "retry_delay", 0.4)
    task_id = make_task(3, chunk_size=3)
    faults.set(
        [
            {**CREATES, "fault": {"kind": "status", "status": 500, "when": "after"}, "times": 1},
            {**READS, "fault": {"kind": "stale_read", "seconds": lag}},
        ]
    )
    time.sleep(lag)
    report = annotate_task(client, task_id, boxes(), use_cache=False)
    faults.clear()
    assert (report.added, per_frame(client, task_id)) == (15, dict.fromkeys(range(3), 5))


def test_504_committed_late_and_reads_that_lag(client, make_task, faults, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "3")
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "1")
    task_id = make_task(3, chunk_size=3)
    fault = {"kind": "late_commit", "answer": 504, "delay": 0.8}
    faults.set(
        [
            {**CREATES, "fault": fault, "times": 1},
            {**READS, "fault": {"kind": "stale_read", "seconds": 0.9}},
        ]
    )
    time.sleep(1)
    report = annotate_task(client, task_id, boxes(), use_cache=False)
    faults.clear()
    assert (report.added, per_frame(client, task_id)) == (15, dict.fromkeys(range(3), 5))


def test_each_keyframe_of_an_automatic_track_matches_a_detection(client, make_task):
    task_id = make_task(4)
    [job] = client.jobs(task_id)
    shapes = [
        {"type": "rectangle", "frame": n, "points": [0, n, 9, n + 9], "outside": False} for n in range(4)
    ]
    track = {"frame": 0, "label_id": label_id(client, task_id), "source": "auto", "shapes": shapes}
    client.create_job_annotations(job.id, {"tracks": [track]})
    report = annotate_task(client, task_id, boxes(1), use_cache=False)
    assert (report.added, report.already_there) == (0, 4)


@pytest.mark.parametrize("how", ["selected", "failed"])
def test_track_visible_on_excluded_frames_is_kept(client, make_task, how):
    task_id = make_task(6)
    [job] = client.jobs(task_id)
    shape = {"type": "rectangle", "frame": 0, "points": [30, 30, 40, 40], "outside": False}
    track = {"frame": 0, "label_id": label_id(client, task_id), "source": "manual", "shapes": [shape]}
    client.create_job_annotations(job.id, {"tracks": [track]})

    def fail(number):
        if how == "failed" and number == 4:
            raise ZeroDivisionError("told to")

    frames = range(3) if how == "selected" else None
    run = AnnotateRun(
        client,
        task_id,
        boxes(1, before=fail),
        Options(use_cache=False, existing="clear", frames=frames, on_frame_error="skip"),
    )
    with ThreadSubmitter() as threads:
        run_pipeline(run, threads)
    assert len(client.job_annotations(job.id).tracks) == 1


def test_last_stage_is_retried_after_a_failed_resend(client, make_task, faults):
    task_id = make_task(4)
    faults.set([{**CREATES, "fault": {"kind": "store_part", "share": 0.5}, "times": 1}])
    create = JobWriter.verify

    def then_fail(self, *args, **kw):
        faults.set([{**CREATES, "fault": {"kind": "status", "status": 500, "when": "before"}, "times": 8}])
        return create(self, *args, **kw)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobWriter, "verify", then_fail)
        again = _again_without(patch, PlannedRun.finish_upload, create)
        patch.setattr(PlannedRun, "finish_upload", again)
        report = retried(client, task_id, boxes())
    assert per_frame(client, task_id) == dict.fromkeys(range(4), 5)
    assert (report.added, report.missing) == (20, 0)


def _again_without(patch, method, verify):
    def finish(self):
        try:
            return method(self)
        except ServerError:
            patch.setattr(JobWriter, "verify", verify)
            raise

    return finish


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


def test_undo_of_a_record_from_the_future_ends(client, make_task, monkeypatch):
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


def _fails_once(monkeypatch, target, name, when=lambda *_: True, partly=None):
    method = getattr(target, name)
    failed = []

    def fail(*args, **kw):
        if not failed and when(*args):
            failed.append(1)
            if partly is not None:
                partly(*args)
            raise StorageError("no space left")
        return method(*args, **kw)

    monkeypatch.setattr(target, name, fail)
    return failed


@pytest.mark.parametrize("name", ["bodies"])
def test_disk_full_once_while_existing_annotations_are_recorded(client, make_task, monkeypatch, name):
    task_id = make_task(2)
    annotate_task(client, task_id, boxes(), use_cache=False)
    failed = _fails_once(
        monkeypatch, annotation_files, "_append", when=lambda path, data: data and path.name.endswith(name)
    )
    retried(client, task_id, boxes())
    assert failed
    assert per_frame(client, task_id) == dict.fromkeys(range(2), 5)


@pytest.mark.parametrize("where", ["record", "log"])
def test_disk_full_once_when_the_response_is_recorded(client, make_task, monkeypatch, where):
    from prefect_cvat.records.record_writer import JobRecord

    task_id = make_task(2)
    if where == "record":
        failed = _fails_once(monkeypatch, JobRecord, "added")
    else:
        failed = _fails_once(
            monkeypatch,
            annotation_files,
            "_append",
            when=lambda path, data: data and path.name.endswith("-added"),
        )
    retried(client, task_id, boxes())
    assert failed
    assert per_frame(client, task_id) == dict.fromkeys(range(2), 5)


def test_disk_full_after_half_of_a_record(client, make_task, monkeypatch):
    task_id = make_task(2)
    for frame in range(2):
        draw(client, task_id, frame)

    failed = []

    class Full:
        def __init__(self, path):
            self.path = path

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def write(self, data):
            with original(self.path, "ab") as file:
                file.write(data[: len(data) // 2 + 5])
            raise OSError(errno.ENOSPC, "no space left")

    original = Path.open

    def full_once(self, mode="r", *args, **options):
        if mode == "ab" and self.name.endswith("-kept") and not failed:
            failed.append(self)
            return Full(self)
        return original(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full_once)
    retried(client, task_id, boxes())
    assert failed
    assert per_frame(client, task_id) == dict.fromkeys(range(2), 6)


def test_ctrl_c_during_removal_keeps_the_lock_of_the_task(client, make_task, monkeypatch):
    task_id = make_task(4, segment_size=2)
    for frame in range(4):
        draw(client, task_id, frame)
    delete = Client.delete_job_annotations
    lock, interrupted = [], []

    def slow(self, job_id, body):
        interrupted.append(job_id)
        if len(interrupted) == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5)
        try:
            with exclusive_run(client.url, task_id):
                lock.append("free")
        except RunInProgressError:
            lock.append("held")
        delete(self, job_id, body)

    monkeypatch.setattr(Client, "delete_job_annotations", slow)
    with pytest.raises(KeyboardInterrupt):
        annotate_task(client, task_id, boxes(), existing="clear", use_cache=False)
    assert set(lock) == {"held"}


def test_automatic_annotations_in_one_of_two_overlapping_jobs(client, make_task):
    task_id = make_task(6, segment_size=4, overlap=2)
    _, second = client.jobs(task_id)
    annotate_task(client, task_id, boxes(), use_cache=False)
    there = client.job_annotations(second.id).shapes
    client.delete_job_annotations(second.id, {"shapes": there})  # as if killed before it was written
    annotate_task(
        client, task_id, boxes(), use_cache=False, skip_existing_iou=0.5, skip_existing_source="auto"
    )
    frames = Counter(shape["frame"] for shape in client.job_annotations(second.id).shapes)
    assert frames == dict.fromkeys(range(second.start_frame, second.stop_frame + 1), 5)


def test_run_stopped_while_waiting_for_another_sends_few_requests(client, make_task, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "2")
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    run = AnnotateRun(client, task_id, boxes(1), Options(use_cache=False))
    reads, done = [], []
    read, verify = Client.iter_job_annotations, JobWriter.verify

    def double(self, _earlier=None, **kw):  # it reads anew
        if not done:
            done.append(1)
            copies = [
                {k: v for k, v in s.items() if k != "id"} for s in client.job_annotations(job.id).shapes
            ]
            client.create_job_annotations(job.id, {"shapes": copies})
            run.stop()
        verify(self, **kw)

    def count(self, job_id):
        reads.append(1)
        return read(self, job_id)

    monkeypatch.setattr(JobWriter, "verify", double)
    monkeypatch.setattr(Client, "iter_job_annotations", count)
    with ThreadSubmitter() as threads, pytest.raises(PrefectCvatError):
        run_pipeline(run, threads)
    assert len(reads) < 12


def test_refine_run_stopped_while_waiting_removes_nothing(client, make_task, faults, monkeypatch):
    from prefect_cvat.runs.refine_run import PlannedRefineRun, RefineRun

    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "4")
    task_id = make_task(2)
    annotate_task(client, task_id, boxes(2), use_cache=False)
    run = RefineRun(client, task_id, Masks(), Options())
    faults.set([{**CREATES, "fault": {"kind": "late_commit", "answer": 504, "delay": 0.1}, "times": 1}])
    finish = PlannedRefineRun.finish_upload

    def stopped(self):
        threading.Timer(0.3, run.stop).start()
        finish(self)

    monkeypatch.setattr(PlannedRefineRun, "finish_upload", stopped)
    with ThreadSubmitter() as threads, pytest.raises(PrefectCvatError):
        run_pipeline(run, threads)
    assert sum(item["type"] == "rectangle" for _, item in annotations(client, task_id)) == 4


@pytest.mark.parametrize("unannotated", [False, True])
def test_run_locks_its_task_before_planning(client, make_task, monkeypatch, unannotated):
    """What another run does between plan and lock would not be in the plan."""
    task_id = make_task(2)
    options = Options(use_cache=False, frames="unannotated" if unannotated else None)
    run = AnnotateRun(client, task_id, boxes(3), options)
    plan, refused = AnnotateRun.plan_task, []

    def other_first(self, workspace):
        if self is run:
            with pytest.raises(RunInProgressError) as raised:
                annotate_task(client, task_id, boxes(2, version="2"), use_cache=False)
            refused.append(raised.value)
        return plan(self, workspace)

    monkeypatch.setattr(AnnotateRun, "plan_task", other_first)
    with ThreadSubmitter() as threads:
        run_pipeline(run, threads)
    assert len(refused) == 1
    assert per_frame(client, task_id) == {0: 3, 1: 3}


@pytest.mark.parametrize("existing", ["clear", "replace_auto"])
def test_retried_last_stage_keeps_originals_without_replacement(
    client, make_task, faults, monkeypatch, existing
):
    task_id = make_task(4)
    for frame in range(4):
        draw(client, task_id, frame, source="auto")
    faults.set([{**CREATES, "fault": {"kind": "store_part", "share": 0}, "times": 1}])
    finish, calls = PlannedRun.finish_upload, []

    def then_fail(self):
        calls.append(1)
        if len(calls) == 1:
            faults.set([{**CREATES, "fault": {"kind": "status", "status": 500}, "times": 8}])
        finish(self)

    monkeypatch.setattr(PlannedRun, "finish_upload", then_fail)
    try:
        retried(client, task_id, boxes(), existing=existing, batch_size=4)
    except IncompleteRunError as error:
        print(error)
    there = annotations(client, task_id)
    print(len(calls), len(there))
    assert there


def test_issue_missing_from_stale_reads_is_opened_once(client, make_task, faults, monkeypatch):
    from prefect_cvat.runs import review_issues as issues

    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "2")
    monkeypatch.setattr(issues, "RETRY", RetryPolicy(first_delay=0.05))
    task_id = make_task(1)
    [job] = client.jobs(task_id)
    started = time.monotonic()
    listed = issues.list_issues
    monkeypatch.setattr(
        issues, "list_issues", lambda *args: listed(*args) if time.monotonic() > started + 1 else []
    )
    fault = {"kind": "status", "status": 500, "when": "after"}
    faults.set([{"methods": ["POST"], "path": "/api/issues$", "fault": fault, "times": 1}])
    try:
        report = annotate_task(client, task_id, unsure(), use_cache=False, open_issues=1)
        print(report.issues_opened, report.issues_failed)
    except PrefectCvatError as error:
        print(error)
    faults.clear()
    assert len(listed(client, job.id)) == 1


def unsure():
    function = boxes(1)
    detect = function.detect

    def scored(context, image):
        found = detect(context, image)
        for shape in found:
            shape.score = 0.3
        return found

    function.detect = scored
    return function


def test_429_with_retry_after_0_causes_few_requests():
    with scripted_server(Answer(429, headers={"Retry-After": "0"})) as server:
        client = Client(server.url, access_token="x", retry=RetryPolicy(give_up_after=1.0))
        with pytest.raises(PrefectCvatError):
            client.job_annotations(1)
    assert len(server.requests) < 10


def test_pages_without_end():
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


@pytest.mark.parametrize("when", [504, 500])
def test_deletion_with_an_error_after_the_commit_is_completed(client, make_task, faults, monkeypatch, when):
    monkeypatch.setattr(JobWriter, "max_annotations", 2)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.2")
    task_id = make_task(2)
    for frame in range(2):
        for x in range(12):
            draw(client, task_id, frame, x=x)
    fault = {"kind": "status", "status": when, "when": "after"}
    faults.set([{"methods": ["PATCH"], "path": "/annotations$", "actions": ["delete"], "fault": fault}])
    report = annotate_task(client, task_id, boxes(1), use_cache=False, existing="clear")
    assert (report.removed, per_frame(client, task_id)) == (24, {0: 1, 1: 1})


@pytest.mark.parametrize("direction", ["forward", "both"])
def test_annotate_follow_annotate(client, world, direction):
    here = world(6)
    places = {frame: [2.0 * frame, 10.0, 2.0 * frame + 8, 18.0] for frame in (0, 2, 4)}
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    function = SimpleNamespace(
        spec=spec,
        version="1",
        detect=lambda context, _: [
            rectangle(1, places[frame]) for frame in [int(context.frame_name[:4])] if frame in places
        ],
    )
    here.place(
        *(here.shape(frame, points=points, source="auto", group=7) for frame, points in places.items())
    )
    here.run(sources=["auto"], direction=direction)
    assert not here.shapes()
    report = annotate_task(client, here.task_id, function, use_cache=False)
    assert (report.added, report.already_there) == (0, 3)


def test_late_committed_annotations_are_not_added_twice(client, make_task, faults, monkeypatch):
    """The same after one more verification."""
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "3")
    monkeypatch.setattr(JobWriter, "retry_delay", 0.4)
    task_id = make_task(3, chunk_size=3)
    faults.set(
        [
            {**CREATES, "fault": {"kind": "status", "status": 500, "when": "after"}, "times": 1},
            {**READS, "fault": {"kind": "stale_read", "seconds": 1.0}},
        ]
    )
    time.sleep(1)
    finish = PlannedRun.finish_upload

    def twice(self):
        finish(self)
        time.sleep(1.5)
        for writer in self.uploads.writers.values():
            writer.verify(anew=True)

    monkeypatch.setattr(PlannedRun, "finish_upload", twice)
    report = annotate_task(client, task_id, boxes(), use_cache=False)
    faults.clear()
    assert (report.added, per_frame(client, task_id)) == (15, dict.fromkeys(range(3), 5))


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


def test_repeated_tracking_keeps_source_shapes_of_missing_tracks(client, world, faults, monkeypatch):
    from moving_blocks import Blocks
    from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
    from prefect_cvat.runs.track_shapes_run import TrackShapesRun

    here = world(6)
    here.place(here.shape(0))
    calls = []
    faults.set([{**CREATES, "fault": {"kind": "store_part", "share": 0}, "times": 1}])
    create = Client.create_job_annotations

    def fail_again(self, job_id, body):
        calls.append(1)
        if 2 <= len(calls) <= 9:
            raise ServerError("500", status=500, method="PATCH", path="/", detail="")
        return create(self, job_id, body)

    monkeypatch.setattr(Client, "create_job_annotations", fail_again)
    run = TrackShapesRun(client, here.task_id, Blocks(), Options(), ShapeTrackingOptions())
    with Retrying() as threads:
        try:
            run_pipeline(run, threads)
        except PrefectCvatError as error:
            print(error)
    assert here.shapes() or here.tracks()


@pytest.mark.usefixtures("sent_at_once")
def test_only_jobs_with_duplicates_are_read_again(client, make_task, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "2")
    task_id = make_task(20, segment_size=1, chunk_size=20)
    jobs = client.jobs(task_id)
    finish = PlannedRun.finish_upload
    reads = []
    read = Client.iter_job_annotations

    def double(self):
        copies = [
            {k: v for k, v in s.items() if k != "id"} for s in client.job_annotations(jobs[0].id).shapes
        ]
        client.create_job_annotations(jobs[0].id, {"shapes": copies})
        reads.clear()
        finish(self)

    monkeypatch.setattr(PlannedRun, "finish_upload", double)
    monkeypatch.setattr(Client, "iter_job_annotations", lambda *a: reads.append(1) or read(*a))
    with pytest.raises(IncompleteRunError):
        annotate_task(client, task_id, boxes(1), use_cache=False)
    print("reads at the end", len(reads))
    assert len(reads) < 40
