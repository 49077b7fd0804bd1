"""Users who are assigned jobs of a task but may not see the task get the same results."""

import json

import numpy as np
import pytest

from clips import clip, number_on
from command_line import run_command_text
from cvat.assigned_jobs import Numbers, annotate, clear, numbered, track, written
from prefect_cvat import ShapeTrackingOptions, annotate_task, refine_task, track_task
from prefect_cvat.auto_annotation import (
    InteractionFunctionSpec,
    InteractionResultShape,
    TrackableShape,
    TrackingFunctionSpec,
)
from prefect_cvat.cvat.issues import list_issues
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.exceptions import PermissionDeniedError
from prefect_cvat.export import export_task
from prefect_cvat.masks import encode_mask
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import make_plan, read_task
from prefect_cvat.rendering.sample_frames import draw_sample_frames

MEDIA = {
    "images": lambda client, make: numbered(client, segment_size=7),
    "images whose jobs overlap": lambda client, make: numbered(client, segment_size=8, overlap=3),
    "every third image": lambda client, make: numbered(
        client, 40, segment_size=5, frame_filter="step=3", start_frame=2
    ),
    "a video": lambda client, make: make(clip(range(24)), segment_size=9),
    "every second frame of a video": lambda client, make: make(
        clip(range(40)), segment_size=8, frame_filter="step=2", start_frame=3
    ),
}


@pytest.fixture(params=MEDIA)
def task_id(request, client, video_task):
    """Tasks of at least three jobs, with chunks that span jobs."""
    return MEDIA[request.param](client, video_task)


class Steps:
    """Moves shapes right by the increase of the number on the picture."""

    spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})

    def preprocess_image(self, context, image):
        return number_on(image)

    def init_tracking_state(self, context, number, shape):
        return number, shape

    def track(self, context, number, state):
        first, shape = state
        points = [value + (number - first) * (1 - i % 2) for i, value in enumerate(shape.points)]
        return TrackableShape(type=shape.type, points=points)


class Circles:
    """Fills the ellipse in each box."""

    spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=0)

    def detect(self, context, image, prompts):
        (x1, y1), (x2, y2) = prompts.bounding_box
        rows, columns = np.mgrid[: image.height, : image.width] + 0.5
        inside = ((columns - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((rows - (y1 + y2) / 2) / (y2 - y1)) ** 2
        return [InteractionResultShape(type="mask", points=encode_mask(inside <= 0.25))]


@pytest.mark.parametrize("places", [(1,), (0, 2), (1, 2)], ids=["one job", "two apart", "two in a row"])
@pytest.mark.parametrize("work", [annotate, track])
def test_writes_the_same_as_users_who_may_see_the_task(client, annotator, assign, task_id, places, work):
    jobs = assign(task_id, *places)
    all_jobs = [job.id for job in client.jobs(task_id)]
    of_owner = work(client, task_id, jobs)
    expected = written(client, all_jobs)
    clear(client, all_jobs)

    with pytest.raises(PermissionDeniedError):
        annotator.task(task_id)
    report = work(annotator, task_id, jobs)

    assert written(client, all_jobs) == expected
    assert (report.frames, report.added, report.labels) == (of_owner.frames, of_owner.added, of_owner.labels)
    assert report.added > 0
    assert report.task_name == of_owner.task_name
    assert report.url == f"{client.url}/tasks/{task_id}/jobs/{jobs[0]}"
    assert [item.url for item in report.review] == [item.url for item in of_owner.review]


def test_detects_each_frame_once_with_its_own_image(client, annotator, assign):
    task_id = numbered(client, segment_size=8, overlap=3)
    jobs = assign(task_id, 0, 1)
    function = Numbers()
    annotate_task(annotator, task_id, function, jobs=jobs, allow_unmatched_labels=True, use_cache=False)
    assert function.seen == [(f"{number:03}.png", number) for number in range(13)]


def test_skips_deleted_and_unselected_frames(client, annotator, assign):
    task_id = numbered(client, segment_size=7)
    client.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [2, 9]})
    [job] = assign(task_id, 1)
    function = Numbers()
    report = annotate_task(
        annotator,
        task_id,
        function,
        jobs=[job],
        frames=range(8, 100),  # of frames after the job nothing is known
        allow_unmatched_labels=True,
        use_cache=False,
    )
    assert [number for _, number in function.seen] == [8, 10, 11, 12, 13]
    assert report.left_out == {"deleted": 1, "not selected": 1}


def test_caches_detections_for_the_next_run(client, annotator, assign):
    task_id = numbered(client, segment_size=8, overlap=3)
    jobs = assign(task_id, 0, 1)

    def run():
        return annotate_task(annotator, task_id, Numbers(), jobs=jobs, allow_unmatched_labels=True)

    assert (run().frames_from_cache, run().frames_from_cache) == (0, 13)


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_tracks_shapes_as_users_who_may_see_the_task(client, annotator, assign, video_task, direction):
    task_id = video_task(clip(range(24)), segment_size=9)
    jobs = assign(task_id, 0, 1)
    label = client.labels(task_id)[0].id
    shape = {"type": "rectangle", "frame": 6, "label_id": label, "points": [5, 5, 30, 30]}

    follow = ShapeTrackingOptions(direction=direction, keep_source_shapes=False)

    def work(who):
        all_jobs = [job.id for job in client.jobs(task_id)]
        clear(client, all_jobs)
        for job in client.jobs(task_id):
            if job.start_frame <= 6 <= job.stop_frame:
                client.create_job_annotations(job.id, {"shapes": [shape], "tags": [], "tracks": []})
        report = track_task(who, task_id, Steps(), jobs=jobs, shape_tracking_options=follow)
        return report.track_frames, written(client, all_jobs)

    expected = work(client)
    assert work(annotator) == expected
    assert expected[0] > 0


def test_refines_boxes_in_the_job(client, annotator, assign):
    task_id = numbered(client, segment_size=7)
    [job] = assign(task_id, 1)
    annotate(annotator, task_id, [job])
    report = refine_task(annotator, task_id, Circles(), jobs=[job])
    assert report.refined == 7
    assert {shape["type"] for shape in client.job_annotations(job).shapes} == {"mask"}


def test_evaluates_and_exports_as_users_who_may_see_the_task(client, annotator, assign, tmp_path):
    task_id = numbered(client, segment_size=8, overlap=3)
    jobs = assign(task_id, 0, 1)
    label = client.labels(task_id)[0].id
    for job in client.jobs(task_id):
        shapes = [
            {"type": "rectangle", "frame": frame, "label_id": label, "points": [frame, 5, frame + 30, 40]}
            for frame in range(job.start_frame, job.stop_frame + 1)
        ]
        client.create_job_annotations(job.id, {"shapes": shapes, "tags": [], "tracks": []})
    options = Options(jobs=jobs, allow_unmatched_labels=True)

    def evaluated(who):
        result = evaluate_task(who, task_id, Numbers(), options=options)
        return result.frames, result.shapes["bbox"].true_positives, result.shapes["bbox"].false_positives

    assert evaluated(annotator) == evaluated(client) == (13, 13, 0)

    def exported(who, name):
        report = export_task(who, task_id, folder=tmp_path / name, options=options)
        files = sorted(path.relative_to(tmp_path / name) for path in (tmp_path / name).rglob("*.png"))
        return report.frames, report.labels, len(files), (tmp_path / name / "annotations.json").read_bytes()

    assert exported(annotator, "of-jobs") == exported(client, "of-task")
    found = export_task(annotator, task_id, Numbers(), folder=tmp_path / "found", options=options)
    assert (found.frames, found.labels) == (13, {"car": 13})


def test_opens_issues_and_draws_images_in_the_job(client, annotator, assign):
    task_id = numbered(client, segment_size=7)
    [job] = assign(task_id, 1)
    report = annotate_task(
        annotator, task_id, Numbers(), jobs=[job], allow_unmatched_labels=True, open_issues=2
    )
    assert report.issues_opened == 2
    assert len(list_issues(client, job)) == 2
    selection = Selection(jobs=[job])
    plan = make_plan(read_task(annotator, task_id, selection), selection)
    assert len(draw_sample_frames(annotator, plan, 2)) == 2


FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class create:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def detect(self, context, image):
        return [rectangle(1, [0, 0, 5, 5])]
"""


def test_command_line_works_without_access_to_the_task(sandbox, client, annotator, assign, tmp_path):
    task_id = numbered(client, 6, segment_size=2)
    jobs = assign(task_id, 0, 2)
    file = tmp_path / "boxes.py"
    file.write_text(FUNCTION)

    def run(*arguments):
        server = ["--server-host", sandbox.url, "--auth", f"{annotator.user().username}:p"]
        annotate = ["annotate", task_id, "--function-file", file]
        return run_command_text(*server, *annotate, *arguments, COLUMNS="300")

    refused = run()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"but jobs of it: {jobs[0]}, {jobs[1]}; name those" in " ".join(refused.stderr.split())
    listed = ",".join(map(str, jobs))
    tried = run("--jobs", listed, "--dry-run")
    assert (tried.returncode, tried.stderr) == (0, "")
    assert "4 frames, 4 to annotate" in tried.stdout
    assert f"2 jobs to write: {jobs[0]}, {jobs[1]}" in tried.stdout
    done = run("--jobs", listed, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 4
    assert sorted(shape["frame"] for shape in client.task_annotations(task_id).shapes) == [0, 1, 4, 5]
