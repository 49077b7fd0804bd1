"""Writing when stages are called again, and when runs are interrupted or stopped."""

import signal
import threading
import time

import pytest

from prefect_cvat import Client, annotate_task
from prefect_cvat.exceptions import IncompleteRunError, PrefectCvatError, RunInProgressError, ServerError
from prefect_cvat.options.run_options import Options
from prefect_cvat.records.run_lock import exclusive_run
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from prefect_cvat.runs.execution.planned_run import PlannedRun
from prefect_cvat.upload.job_writer import JobWriter
from task_annotations import CREATES, Masks, annotations, boxes, draw, per_frame
from upload.retried_runs import Retrying, retried

pytestmark = pytest.mark.usefixtures("quick_retries")


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


@pytest.mark.ctrl_c
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


def test_run_stopped_while_waiting_for_another_sends_few_requests(client, make_task, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_STALE_READ_SECONDS", "2")
    task_id = make_task(2)
    [job] = client.jobs(task_id)
    run = AnnotateRun(client, task_id, boxes(1), Options(use_cache=False))
    reads, done = [], []
    read, verify = Client.iter_job_annotations, JobWriter.verify

    def double(self, _earlier=None, **kw):  # it reads again
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
        retried(client, task_id, boxes(), existing=existing, frames_per_batch=4)
    except IncompleteRunError as error:
        print(error)
    there = annotations(client, task_id)
    print(len(calls), len(there))
    assert there


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
