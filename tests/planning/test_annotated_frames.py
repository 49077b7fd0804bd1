"""Runs on unannotated frames only; frames are written completely or not at all."""

from types import SimpleNamespace

import pytest

from command_line import run_command_text
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle, tag
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.exceptions import TransportError
from prefect_cvat.http.transport import Transport
from prefect_cvat.options.run_options import Options
from prefect_cvat.planning.annotated_frames import exclude_annotated, shown_frames
from prefect_cvat.planning.plan import make_plan, read_task
from prefect_cvat.upload.job_writer import JobWriter

SPEC = DetectionFunctionSpec(labels=[label_spec("car", 7), label_spec("person", 8)])


def function_of(detect):
    return SimpleNamespace(spec=SPEC, detect=detect)


ONE_CAR = function_of(lambda _context, _image: [rectangle(7, [1, 2, 11, 12], score=0.5)])


def shape_on(frame, label_id, source="manual"):
    points = [5, 5, 9, 9]
    return {"type": "rectangle", "frame": frame, "label_id": label_id, "points": points, "source": source}


def track_on(*keyframes, **fields):
    shapes = [
        {"type": "rectangle", "frame": frame, "points": [5, 5, 9, 9], "outside": outside}
        for frame, outside in keyframes
    ]
    return {"frame": keyframes[0][0], "shapes": shapes, **fields}


def on_frames(client, task_id, points):
    return sorted(
        shape["frame"]
        for job in client.jobs(task_id)
        for shape in client.job_annotations(job.id).shapes
        if shape["points"] == points
    )


@pytest.mark.parametrize(
    ("annotation", "frames"),
    [
        ({"frame": 3}, {3}),
        ({"frame": 3, "type": "rectangle"}, {3}),
        (track_on((2, False)), {2, 3, 4, 5, 6, 7, 8, 9}),
        (track_on((2, False), (5, True)), {2, 3, 4}),
        (track_on((2, False), (4, True), (7, False), (8, True)), {2, 3, 7}),
        (
            {
                **track_on((0, False)),
                "elements": [track_on((0, False), (2, True)), track_on((1, False), (4, True))],
            },
            {0, 1, 2, 3},
        ),
    ],
    ids=["tag", "shape", "track to the end", "track that ends", "track with a gap", "skeleton"],
)
def test_visible_frames_of_an_annotation(annotation, frames):
    assert shown_frames(annotation, 9) == frames


def test_frames_that_have_a_tag_a_shape_or_a_track_are_left_out_and_counted(client, make_task):
    task_id = make_task(8)
    label = client.labels(task_id)[0].id
    [job] = client.jobs(task_id)
    client.create_job_annotations(
        job.id,
        {
            "tags": [{"frame": 0, "label_id": label, "source": "manual"}],
            "shapes": [shape_on(1, label, "auto")],
            "tracks": [track_on((3, False), (5, True), label_id=label, source="manual")],
        },
    )
    before = client.job_annotations(job.id)
    report = annotate_task(client, task_id, ONE_CAR, frames="unannotated")
    assert on_frames(client, task_id, [1, 2, 11, 12]) == [2, 5, 6, 7]
    assert report.left_out == {"annotated": 4}
    assert "frames left out: 4 annotated" in report.lines()
    after = client.job_annotations(job.id)
    assert (after.tags, after.tracks) == (before.tags, before.tracks)


def test_annotated_task_is_not_changed(client, make_task):
    task_id = make_task(4)
    annotate_task(client, task_id, ONE_CAR, frames="unannotated")
    report = annotate_task(client, task_id, ONE_CAR, frames="unannotated")
    assert (report.frames, report.added, report.left_out) == (0, 0, {"annotated": 4})


@pytest.mark.usefixtures("sent_at_once")
def test_interrupted_run_continues_with_the_remaining_frames(client, make_task, monkeypatch):
    task_id = make_task(6)
    monkeypatch.setattr("prefect_cvat.upload.job_writer.MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", 1)
    original = Transport.json
    writes = []

    def dies_at_the_third_write(self, method, path, **arguments):
        if method == "PATCH" and "/annotations" in path:
            writes.append(path)
            if len(writes) == 3:
                raise TransportError("the cable was pulled")
        return original(self, method, path, **arguments)

    monkeypatch.setattr(Transport, "json", dies_at_the_third_write)
    monkeypatch.setenv("PREFECT_CVAT_LATE_COMMIT_SECONDS", "0.0")
    with pytest.raises(TransportError):
        annotate_task(client, task_id, ONE_CAR, frames="unannotated", frames_per_batch=1)
    monkeypatch.setattr(Transport, "json", original)
    report = annotate_task(client, task_id, ONE_CAR, frames="unannotated", frames_per_batch=1)
    assert report.left_out == {"annotated": 4}
    assert on_frames(client, task_id, [1, 2, 11, 12]) == list(range(6))


def test_annotations_of_one_frame_are_written_in_one_request(client, make_task, monkeypatch):
    task_id = make_task(4, chunk_size=4)
    monkeypatch.setattr(JobWriter, "max_annotations", 5)
    sent = []
    original = type(client).create_job_annotations

    def create_job_annotations(self, job_id, body):
        answer = original(self, job_id, body)
        sent.append([item["frame"] for item in (*answer.tags, *answer.shapes)])
        return answer

    monkeypatch.setattr(type(client), "create_job_annotations", create_job_annotations)
    found = [tag(8), *(rectangle(7, [1, 2, 11, 12 + i], score=0.5) for i in range(2))]
    annotate_task(client, task_id, function_of(lambda _context, _image: found))
    assert [set(part) for part in sent] == [{0}, {1}, {2}, {3}]
    assert [len(part) for part in sent] == [3, 3, 3, 3]


def test_overlapping_frame_missing_in_one_job_is_annotated(client, make_task):
    task_id = make_task(6, segment_size=4, overlap=2)
    label = client.labels(task_id)[0].id
    first, second = client.jobs(task_id)
    # frame 2 as a run left it that was killed between both jobs; on frame 3 a human was at work
    machine, drawn = shape_on(2, label, "auto"), shape_on(3, label)
    client.create_job_annotations(first.id, {"shapes": [machine, drawn]})
    plan = exclude_annotated(client, make_plan(read_task(client, task_id)))
    assert [frame.number for frame in plan.frames] == [0, 1, 2, 4, 5]
    client.create_job_annotations(second.id, {"shapes": [machine]})
    plan = exclude_annotated(client, make_plan(read_task(client, task_id)))
    assert [frame.number for frame in plan.frames] == [0, 1, 4, 5]


def test_only_selected_jobs_count_as_annotated(client, make_task):
    task_id = make_task(4, segment_size=2)
    label = client.labels(task_id)[0].id
    first, second = client.jobs(task_id)
    client.create_job_annotations(first.id, {"shapes": [shape_on(0, label)]})
    report = annotate_task(client, task_id, ONE_CAR, frames="unannotated", jobs=[second.id])
    assert report.left_out == {"not selected": 2}


def test_runs_that_cannot_skip_annotated_frames_refuse_the_option(client, make_task):
    with pytest.raises(ValueError, match="unannotated frames have no ground truth"):
        evaluate_task(client, make_task(1), ONE_CAR, options=Options(frames="unannotated"))
    with pytest.raises(ValueError, match="frames: 'all' is neither a number nor a range"):
        annotate_task(client, 1, ONE_CAR, frames="all")


def test_command_line_has_both_options(sandbox, client, make_task):
    task_id = make_task(3)
    label = client.labels(task_id)[0].id
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [shape_on(0, label)]})
    server = ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]
    annotate = ["annotate", str(task_id), "--function", "nanodet_detection", "--allow-unmatched-labels"]

    def run(*arguments):
        return run_command_text(*server, *arguments)

    would = run(*annotate, "--frames", "unannotated", "--skip-existing-iou", "0.6", "--dry-run")
    assert would.returncode == 0, would.stderr
    assert "3 frames, 2 to annotate" in would.stdout
    assert "left out, annotated: 1 frame (0)" in would.stdout
    assert "left out: existing tags, and shapes from IoU 0.6 with existing ones (manual)" in would.stdout
    refused = run(*annotate, "--skip-existing-iou", "0.6", "--clear-existing")
    assert refused.returncode == 2
    assert "or 'replace_auto'" in refused.stderr
