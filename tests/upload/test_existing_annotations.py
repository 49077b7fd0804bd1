"""What a run adds to, and removes from, annotations that are there before it."""

import json
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.exceptions import RunInProgressError
from prefect_cvat.options.run_options import Options
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.execution.pipeline import ThreadSubmitter, run_pipeline
from task_annotations import boxes, label_id, per_frame

pytestmark = pytest.mark.usefixtures("quick_retries")


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


def test_job_state_is_on_disk(client, make_task):
    """With 40 jobs of 250 annotations each, memory holds no more than one job."""
    task_id = make_task(40, segment_size=1, chunk_size=8)
    car = label_id(client, task_id)
    for job in client.jobs(task_id):
        old = [
            {
                "type": "rectangle",
                "frame": job.start_frame,
                "label_id": car,
                "points": [i % 50, 1, i % 50 + 2, 9],
            }
            for i in range(250)
        ]
        client.create_job_annotations(job.id, json.loads(json.dumps({"shapes": old})))
    run = AnnotateRun(client, task_id, boxes(), Options(use_cache=False, frames_per_batch=8))
    sizes = []

    def look(number):
        time.sleep(0.02)  # what has been detected is being written by then
        if run.planned.uploads.has_baseline:
            sizes.append(sum(_held(writer._ledger) for writer in run.planned.uploads.writers.values()))

    run.detector.function.detect = boxes(before=look).detect
    with ThreadSubmitter() as threads:
        run_pipeline(run, threads)
    assert sizes
    assert max(sizes) < 40 * 250 / 2


def _held(ledger):
    return len(ledger.baseline._reusable or ())
