"""Users who are assigned jobs of a task but may not see the task get the same results."""

import io
import itertools
import json
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from clips import clip, number_on, numbered_picture
from command_line import run_command_text
from pictures import picture
from prefect_cvat import (
    Client,
    ShapeTrackingOptions,
    TrackOptions,
    annotate_task,
    refine_task,
    track_task,
    undo_run,
)
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    TrackableShape,
    TrackingFunctionSpec,
    label_spec,
    rectangle,
    tag,
)
from prefect_cvat.cvat.issues import list_issues
from prefect_cvat.cvat.response_checks.honeypot_check import check_has_no_honeypots
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.exceptions import (
    InvalidResponseError,
    NotFoundError,
    OrganizationError,
    PermissionDeniedError,
    UnsupportedTaskError,
)
from prefect_cvat.export import export_task
from prefect_cvat.masks import encode_mask
from prefect_cvat.options.frame_options import Selection
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.plan import make_plan, read_task
from prefect_cvat.planning.task_info import read_jobs
from prefect_cvat.rendering.sample_frames import draw_sample_frames

NUMBERS = itertools.count()
LABELS = [label_spec("car", None), label_spec("any", None)]


@pytest.fixture
def annotator(sandbox):
    """A user who may see nothing until a job is assigned."""
    name = f"annotator{next(NUMBERS)}"
    with Client(sandbox.url) as client:
        body = {"username": name, "password1": "p", "password2": "p"}
        client._transport.json("POST", "/api/auth/register", body=body, anonymous=True)
        client.login((name, "p"))
        yield client


@pytest.fixture
def assign(client, annotator):
    """Assign jobs of a task, by their places; return their numbers."""

    def assign(task_id, *places):
        jobs = [client.jobs(task_id)[place] for place in places]
        for job in jobs:
            body = {"assignee": annotator.user().id}
            client.json("PATCH", f"/api/jobs/{job.id}", body=body)
        return [job.id for job in jobs]

    return assign


def numbered(client, count=20, **fields):
    """A task of pictures whose numbers can be read."""
    data = {
        name: fields.pop(name) for name in ("frame_filter", "start_frame", "stop_frame") if name in fields
    }
    task = client.create_task("numbered", LABELS, **fields).id
    images = {}
    for number in range(count):
        buffer = io.BytesIO()
        numbered_picture(number).save(buffer, "PNG")
        images[f"{number:03}.png"] = buffer.getvalue()
    client.upload_images(task, images, chunk_size=3, **data)
    return task


class Numbers:
    """Finds a car where the number on the picture says, and tags each frame."""

    spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("any", 2, type="tag")])
    version = "1"

    def __init__(self):
        self.seen = []

    def detect(self, context, image):
        number = number_on(image)
        self.seen.append((context.frame_name, number))
        return [rectangle(1, [number, 5, number + 30, 40], score=0.75), tag(2)]


def written(client, jobs):
    """What jobs hold, without what differs between two runs on purpose: ids."""

    def bare(item):
        return {
            key: [bare(part) for part in value] if key in ("shapes", "elements") else value
            for key, value in item.items()
            if key != "id"
        }

    result = {}
    for job in jobs:
        data = client.job_annotations(job)
        result[job] = [
            sorted(repr(sorted(bare(item).items())) for item in items)
            for items in (data.tags, data.shapes, data.tracks)
        ]
    return result


def clear(client, jobs):
    for job in jobs:
        data = client.job_annotations(job)
        client.delete_job_annotations(job, data.model_dump())


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
    """Tasks of at least three jobs, whose chunks run across the borders of the jobs."""
    return MEDIA[request.param](client, video_task)


class Steps:
    """Moves shapes to the right by as much as the number on the picture grows."""

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


def annotate(client, task_id, jobs):
    return annotate_task(client, task_id, Numbers(), jobs=jobs, allow_unmatched_labels=True, use_cache=False)


def track(client, task_id, jobs):
    tracking = TrackOptions(min_length=1)
    return track_task(
        client,
        task_id,
        Numbers(),
        jobs=jobs,
        track_options=tracking,
        allow_unmatched_labels=True,
        use_cache=False,
    )


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


# --- what is refused ---


def test_names_the_visible_jobs_if_none_is_given(client, annotator, assign):
    task_id = numbered(client, 6, segment_size=2)
    with pytest.raises(PermissionDeniedError, match="permission"):
        annotate_task(annotator, task_id, Numbers())
    jobs = assign(task_id, 0, 2)
    with pytest.raises(
        PermissionDeniedError,
        match=rf"may not see task {task_id} on .*, but jobs of it: {jobs[0]}, {jobs[1]}; name those",
    ):
        annotate_task(annotator, task_id, Numbers())


def test_refuses_jobs_of_other_tasks(client, annotator, assign, make_task):
    task_id, other = make_task(4, segment_size=2), make_task(4, segment_size=2)
    [job] = assign(task_id, 0)
    [stranger] = assign(other, 0)
    unseen = client.jobs(task_id)[1].id
    with pytest.raises(ValueError, match=rf"job {stranger} is one of task {other}, not of task {task_id}"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job, stranger])
    with pytest.raises(PermissionDeniedError, match=f"/api/jobs/{unseen}"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job, unseen])
    with pytest.raises(NotFoundError, match="there is no job 999999"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job, 999999])


def test_refuses_a_ground_truth_job(client, annotator, assign, make_task):
    task_id = make_task(4)
    body = {"type": "ground_truth", "task_id": task_id, "frame_selection_method": "manual", "frames": [1]}
    client.json("POST", "/api/jobs", body=body)
    [job] = assign(task_id, 1)
    with pytest.raises(ValueError, match=f"job {job} of task {task_id} is of type 'ground_truth'"):
        annotate_task(annotator, task_id, Numbers(), jobs=[job])


@pytest.fixture
def pool(client):
    """A task with a pool of ground truth, and two honeypots in each job."""
    task = client.create_task("a pool", LABELS, segment_size=5)
    client.upload_images(
        task.id,
        {f"{i:04}.png": picture(seed=i) for i in range(15)},
        sorting_method="random",
        validation_params={
            "mode": "gt_pool",
            "frame_selection_method": "random_uniform",
            "frame_count": 5,
            "frames_per_job_count": 2,
        },
    )
    return task.id


@pytest.mark.parametrize("work", [annotate, track])
def test_refuses_jobs_with_hidden_honeypots_and_writes_nothing(client, annotator, assign, pool, work):
    jobs = assign(pool, 0, 1)
    with pytest.raises(
        UnsupportedTaskError, match=rf"task {pool} has a pool of ground-truth frames, and CVAT"
    ):
        work(annotator, pool, jobs)
    assert all(not any(items) for items in written(client, jobs).values())


def test_skips_honeypots_for_users_who_may_see_the_task(client, pool):
    [job, *_] = client.jobs(pool)
    report = annotate_task(
        client, pool, SimpleNamespace(spec=Numbers.spec, detect=lambda *_: []), jobs=[job.id]
    )
    assert report.left_out["honeypot"] == 4
    assert report.frames == 5


def test_refuses_jobs_if_honeypots_are_unknown(client, annotator, assign, make_task, monkeypatch):
    task_id = make_task(4, segment_size=2)
    [number] = assign(task_id, 0)
    token = annotator.json("POST", "/api/auth/access_tokens", body={"name": "reads", "read_only": True})
    with (
        Client(client.url, access_token=token["value"]) as reader,
        pytest.raises(UnsupportedTaskError, match=rf"whether job {number} .* has honeypots, .*403"),
    ):
        read_task(reader, task_id, Selection(jobs=[number]))
    job = annotator.job(number)
    monkeypatch.setattr(Client, "create_job_annotations", lambda *_: SimpleNamespace(tracks=[{"id": 1}]))
    deleted = []
    monkeypatch.setattr(Client, "delete_job_annotations", lambda _, job, body: deleted.append((job, body)))
    with pytest.raises(UnsupportedTaskError, match="CVAT took what it cannot take"):
        check_has_no_honeypots(annotator, job)
    assert deleted == [(number, {"tags": [], "shapes": [], "tracks": [{"id": 1}]})]


def test_retries_the_honeypot_check(client, annotator, assign, sandbox, make_task):
    task_id = make_task(4, segment_size=2)
    [number] = assign(task_id, 0)
    sandbox.faults.set(
        [
            {
                "methods": ["PATCH"],
                "path": "/annotations$",
                "fault": {"kind": "status", "status": 502},
                "times": 2,
            }
        ]
    )
    try:
        check_has_no_honeypots(annotator, annotator.job(number))
    finally:
        sandbox.faults.clear()
    assert client.job_annotations(number).tracks == []


def test_refuses_meta_that_contradicts_the_job(client, annotator, assign, make_task, monkeypatch):
    task_id = make_task(4, segment_size=2)
    [number] = assign(task_id, 0)
    meta = annotator.job_meta(number)
    monkeypatch.setattr(Client, "job_meta", lambda *_: meta.model_copy(update={"size": 9}))
    with pytest.raises(InvalidResponseError, match=rf"job {number} has 2 frames, but its data/meta has 9"):
        read_task(annotator, task_id, Selection(jobs=[number]))


# --- for undo ---


def test_finds_jobs_by_id_without_access_to_the_task(client, annotator, assign, make_task):
    task_id = make_task(6, segment_size=2)
    jobs = assign(task_id, 0, 2)
    of_owner, of_annotator = read_jobs(client, task_id, [*jobs, 999999]), read_jobs(annotator, task_id, jobs)
    assert [job.id for job in of_owner.jobs] == [job.id for job in of_annotator.jobs] == jobs
    assert of_owner.labels == of_annotator.labels
    assert (of_annotator.task.id, of_annotator.task.name) == (task_id, "a task")
    assert of_annotator.identity.jobs == {job.id: job.created_date for job in of_annotator.jobs}
    assert of_owner.identity.differences(of_annotator.identity) == []
    assert of_owner.jobs == of_annotator.jobs
    assert all(job.created_date for job in of_owner.jobs)
    with pytest.raises(PermissionDeniedError):
        read_jobs(annotator, task_id, [])


@pytest.mark.parametrize("by", ["the annotator", "who may see the task"])
@pytest.mark.parametrize("of", ["the annotator", "who may see the task"])
def test_undo_works_without_access_to_the_task(client, annotator, assign, of, by):
    task_id = numbered(client, 6, segment_size=2)
    jobs = assign(task_id, 0)
    who = {"the annotator": annotator, "who may see the task": client}
    report = annotate(who[of], task_id, jobs)
    assert undo_run(who[by], report.run).removed == report.added
    assert not any(any(items) for items in written(client, jobs).values())


def test_undo_refuses_jobs_that_were_recreated(client, annotator, assign, monkeypatch):
    task_id = numbered(client, 6, segment_size=2)
    jobs = assign(task_id, 0)
    report = annotate(annotator, task_id, jobs)
    read = Client.job

    def made_anew(self, job_id):
        job = read(self, job_id)
        return job.model_copy(update={"created_date": job.created_date + timedelta(days=1)})

    monkeypatch.setattr(Client, "job", made_anew)
    with pytest.raises(
        ValueError, match=rf"was on another task {task_id} .* its job {jobs[0]} was created at "
    ):
        undo_run(annotator, report.run)


# --- organizations, and the command line ---


def test_checks_the_organization_of_a_job(sandbox, client, annotator, assign):
    slug = f"org-of-jobs-{next(NUMBERS)}"
    number = client.json("POST", "/api/organizations", body={"slug": slug})["id"]
    with Client(sandbox.url, organization=slug) as inside:
        inside.login((sandbox.user, sandbox.password))
        task_id = numbered(inside, 6, segment_size=2)
    [job] = assign(task_id, 1)
    with Client(sandbox.url, organization="") as personal:
        personal.login((annotator.user().username, "p"))
        with pytest.raises(
            OrganizationError,
            match=rf"job {job} is in the organization number {number}, not in the personal workspace",
        ):
            annotate(personal, task_id, [job])
    assert annotate(annotator, task_id, [job]).added == 4


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
