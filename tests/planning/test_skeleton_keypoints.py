"""Keypoints of a function are compared with the task's skeletons before images are fetched."""

from types import SimpleNamespace

import pytest

from prefect_cvat import annotate_task, track_task
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunctionSpec,
    keypoint,
    keypoint_spec,
    label_spec,
    skeleton,
    skeleton_label_spec,
)
from prefect_cvat.evaluation import evaluate_task
from prefect_cvat.export import export_task
from prefect_cvat.options.run_options import Options

FEWER = r"label 'body' is a skeleton with fewer elements than expected \(1 vs 2\): the function has no 'hand'"


def function_of(*names):
    keypoints = [keypoint_spec(name, number) for number, name in enumerate(names)]
    spec = DetectionFunctionSpec(labels=[skeleton_label_spec("body", 7, keypoints)])
    found = [keypoint(number, [5 + number, 6]) for number in range(len(names))]
    return SimpleNamespace(spec=spec, detect=lambda context, image: [skeleton(7, found)])


@pytest.fixture
def task_id(make_task, client):
    """A task of skeletons, with a rectangle of a human on its first frame."""
    keypoints = [keypoint_spec("head", None), keypoint_spec("hand", None)]
    labels = [skeleton_label_spec("body", None, keypoints), label_spec("person", None)]
    task_id = make_task(2, labels=labels)
    [person] = [label.id for label in client.labels(task_id) if label.name == "person"]
    [job] = client.jobs(task_id)
    drawn = {"type": "rectangle", "frame": 0, "label_id": person, "points": [1, 2, 3, 4], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    return task_id


@pytest.fixture
def chunks_asked_for(sandbox):
    """The requests for chunks; a fault that does no harm has each of them logged."""
    harmless = {"kind": "bandwidth", "bytes_per_second": 10**9}
    sandbox.faults.set([{"query": "type=chunk", "fault": harmless}])
    yield sandbox.faults.log
    sandbox.faults.clear()


KINDS = {
    "annotate": lambda client, task_id, function, options, folder: annotate_task(
        client, task_id, function, **options
    ),
    "track": lambda client, task_id, function, options, folder: track_task(
        client, task_id, function, **options
    ),
    "evaluate": lambda client, task_id, function, options, folder: evaluate_task(
        client, task_id, function, options=Options(**options)
    ),
    "export": lambda client, task_id, function, options, folder: export_task(
        client, task_id, function, folder=folder, options=Options(**options)
    ),
}


@pytest.mark.parametrize("allow_unmatched_labels", [False, True], ids=["", "allow_unmatched_labels"])
@pytest.mark.parametrize("work", KINDS.values(), ids=KINDS)
def test_missing_keypoint_is_an_error_before_chunks_are_fetched(
    client, task_id, chunks_asked_for, work, allow_unmatched_labels, tmp_path
):
    options = {"allow_unmatched_labels": allow_unmatched_labels}
    with pytest.raises(BadFunctionError, match=FEWER):
        work(client, task_id, function_of("head"), options, tmp_path / "dataset")
    assert not chunks_asked_for()


def test_matching_keypoints_are_written(client, task_id, chunks_asked_for):
    report = annotate_task(client, task_id, function_of("hand", "head"))
    assert chunks_asked_for()
    assert report.labels == {"body": 2}
    [job] = client.jobs(task_id)
    bodies = [shape for shape in client.job_annotations(job.id).shapes if shape["type"] == "skeleton"]
    assert [len(body["elements"]) for body in bodies] == [2, 2]


def test_mapped_keypoints_match(client, task_id):
    label_map = {"body": {"name": "body", "sublabels": {"wrist": "hand"}}}
    report = annotate_task(client, task_id, function_of("wrist", "head"), label_map=label_map)
    assert report.labels == {"body": 2}
