"""Where the ground truth of an evaluation comes from: manual annotations, jobs, pools, other tasks."""

import pytest

from clips import clip
from evaluation.drawn_boxes import Boxes, draw, ground_truth_job, labels_of, manual
from pictures import picture
from pool_tasks import create_pool_task
from prefect_cvat.auto_annotation import (
    annotate_task,
    label_spec,
)
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.exceptions import (
    NothingToEvaluateError,
    PermissionDeniedError,
)
from prefect_cvat.options.run_options import Options
from prefect_cvat.sandbox.accounts import permissions
from prefect_cvat.sandbox.api.reply import forbidden


@pytest.mark.parametrize("source", ["manual", "semi-auto", "file", "consensus"])
def test_all_annotations_except_automatic_ones_are_ground_truth(client, make_task, source):
    task_id = make_task(2)
    draw(client, task_id, [manual(0, labels_of(client, task_id)["car"], source=source)])
    assert evaluate_task(client, task_id, Boxes()).shapes["bbox"].ap == 1


def test_a_ground_truth_job_counts_with_all_its_frames(client, make_task):
    task_id = make_task(6)
    car = labels_of(client, task_id)["car"]
    draw(client, task_id, [manual(0, car)])
    job = ground_truth_job(client, task_id, [1, 2, 4])
    shapes = [manual(1, car), manual(2, car, source="auto")]
    client.create_job_annotations(job, {"shapes": shapes, "tags": [], "tracks": []})
    function = Boxes()
    result = evaluate_task(client, task_id, function, truth="ground_truth")
    boxes = result.shapes["bbox"]
    assert (result.frames, boxes.truth, boxes.true_positives, boxes.false_positives) == (3, 1, 1, 2)
    assert result.truth == f"the ground-truth job {job} of task {task_id}"
    assert sorted(function.seen) == ["0001.png", "0002.png", "0004.png"]
    annotate_task(client, task_id, Boxes())
    left = evaluate_task(client, task_id, truth="ground_truth").shapes["bbox"]
    assert (left.true_positives, left.false_positives) == (1, 2)
    options = Options(jobs=[client.jobs(task_id)[0].id])
    with pytest.raises(ValueError, match="jobs cannot be selected with a ground-truth job"):
        evaluate_task(client, task_id, Boxes(), truth="ground_truth", options=options)


def test_functions_are_evaluated_on_a_ground_truth_pool(client):
    task_id = create_pool_task(client)
    [job] = [job for job in client.jobs(task_id) if job.type == "ground_truth"]
    shapes = [manual(job.start_frame, labels_of(client, task_id)["car"])]
    client.create_job_annotations(job.id, {"shapes": shapes, "tags": [], "tracks": []})
    options = Options(allow_unmatched_labels=True)
    result = evaluate_task(client, task_id, Boxes(), truth="ground_truth", options=options)
    assert (result.frames, result.shapes["bbox"].true_positives) == (3, 1)
    annotate_task(client, task_id, Boxes(), allow_unmatched_labels=True)
    with pytest.raises(NothingToEvaluateError, match="Runs leave out the frames of a ground-truth pool"):
        evaluate_task(client, task_id, truth="ground_truth")


def test_ground_truth_may_be_in_another_task_with_equal_names(client, make_task):
    task_id = make_task(4)
    other = client.create_task("reversed", [label_spec("bus", None), label_spec("car", None)])
    names = ["0003.png", "0002.png", "0001.png", "extra.png"]
    images = {name: picture(seed=i) for i, name in enumerate(names)}
    client.upload_images(other.id, images, sorting_method="predefined", upload_file_order=names)
    their = labels_of(client, other.id)
    draw(client, other.id, [manual(2, their["car"]), manual(0, their["bus"]), manual(3, their["car"])])
    result = evaluate_task(client, task_id, Boxes(), truth="task", truth_task_id=other.id)
    assert [frame.number for frame in result.evaluated_frames] == [1]
    assert result.shapes["bbox"].ap == 1
    assert result.left_out == {
        f"annotations of label 'bus' of task {other.id}": 1,
        "frames that the other task does not have": 1,
        "frames without manual annotations": 2,
    }


def test_frames_of_videos_are_matched_by_their_numbers_in_the_video(client, video_task):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    data = clip(range(12))
    every, third = video_task(data), video_task(data, frame_step=3)
    car = labels_of(client, every)["car"]
    draw(client, every, [manual(number, car) for number in (3, 4, 6)])
    function = Boxes()
    options = Options(allow_unmatched_labels=True)
    result = evaluate_task(client, third, function, truth="task", truth_task_id=every, options=options)
    assert [frame.number for frame in result.evaluated_frames] == [1, 2]
    assert result.shapes["bbox"].ap == 1


def test_tasks_with_other_images_are_refused(client, make_task):
    task_id = make_task(2)
    car = labels_of(client, task_id)["car"]
    draw(client, task_id, [manual(0, car)])

    def task_of(names, **fields):
        other = client.create_task("other", [label_spec("car", None)])
        client.upload_images(other.id, {name: picture(**fields) for name in names})
        draw(client, other.id, [manual(0, labels_of(client, other.id)["car"], (1, 1, 9, 9))])
        return other.id

    with pytest.raises(NothingToEvaluateError, match=r"no frame in common.*'0000.png' and 'x.png'"):
        evaluate_task(client, task_id, Boxes(), truth="task", truth_task_id=task_of(["x.png"]))
    smaller = task_of(["0000.png"], width=32, height=32)
    with pytest.raises(ValueError, match=r"has 64x48 pixels in task \d+, but 32x32 in task"):
        evaluate_task(client, task_id, Boxes(), truth="task", truth_task_id=smaller)
    with pytest.raises(ValueError, match="truth_task_id is required with"):
        evaluate_task(client, task_id, Boxes(), truth="task")


def test_unreadable_ground_truth_job_is_reported(client, make_task, monkeypatch):
    task_id = make_task(2)
    job = ground_truth_job(client, task_id, [0])
    job_of = permissions.job_of
    monkeypatch.setattr(permissions, "job_of", lambda call, db, number: refuse(call, db, number, job, job_of))
    with pytest.raises(PermissionDeniedError, match=f"may not read the ground-truth job {job} of task"):
        evaluate_task(client, task_id, Boxes(), truth="ground_truth")


def refuse(call, db, number, forbidden_job, job_of):
    """CVAT may let a user see a task, and not its ground-truth job; the sandbox knows no such roles."""
    if number == forbidden_job:
        raise forbidden()
    return job_of(call, db, number)
