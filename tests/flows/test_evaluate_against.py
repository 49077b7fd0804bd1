"""The flow compares functions and stored annotations, on a real Prefect server, against the sandbox."""

import json

import pytest

from prefect_cvat.auto_annotation import annotate_task
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.cli.demo_run import create_demo_task
from prefect_cvat.flows.evaluate_task import evaluate_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.evaluation_options import ComparisonOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.records.record_reader import recorded_runs
from task_runs import artifacts_of, last_run

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

LABELS = LabelOptions(allow_unmatched_labels=True)


@pytest.fixture
def annotated_task(client) -> int:
    """The demo's photographs, on which all that NanoDet finds is also drawn by hand."""
    task_id = create_demo_task(client)
    annotate_task(client, task_id, nanodet_detection.create(), allow_unmatched_labels=True)
    shapes = [
        {key: value for key, value in shape.items() if key != "id"} | {"source": "manual"}
        for shape in client.task_annotations(task_id).shapes
    ]
    for job in client.jobs(task_id):
        own = [shape for shape in shapes if job.start_frame <= shape["frame"] <= job.stop_frame]
        client.create_job_annotations(job.id, {"shapes": own, "tags": [], "tracks": []})
    return task_id


def test_compares_two_functions_and_publishes_artifacts(credentials, annotated_task):
    strict = {"score_threshold": "float:0.6"}
    done = evaluate_task(
        annotated_task,
        credentials,
        function="nanodet_detection",
        labels=LABELS,
        comparison=ComparisonOptions(against="nanodet_detection", against_parameters=strict, resamples=50),
    )
    recall = done.shapes["bbox"].overall.metrics["recall"]
    assert (recall.first, recall.difference) == (1, pytest.approx(1 - recall.second))
    assert recall.difference > 0.1

    run = last_run()
    assert run.state_name == "Completed"
    assert run.name == f"evaluate task {annotated_task} with nanodet_detection against nanodet_detection"
    assert "nanodet_detection (first) against nanodet_detection (second)" in run.state.message
    found = artifacts_of(run)
    task = f"task-{annotated_task}"
    assert f"| recall | 1.000 | {recall.second:.3f} |" in found[f"comparison-{task}"].data
    rows = json.loads(found[f"comparison-boxes-{task}"].data)
    assert rows[0]["recall difference"].startswith(f"{recall.difference:+.3f} [")
    assert found[f"calibration-boxes-{task}"].data.startswith("data:image/png;base64,")
    assert any(key.startswith("worst-frame-") for key in found)


def test_compares_a_block_with_stored_annotations(credentials, annotated_task):
    block = CvatFunction(function="nanodet_detection", allow_unmatched_labels=True, conf_threshold=0.6)
    done = evaluate_task(
        annotated_task,
        credentials,
        against_block=block,
        comparison=ComparisonOptions(resamples=20),
    )
    assert (
        last_run().name == f"evaluate existing annotations of task {annotated_task} against nanodet_detection"
    )
    assert (done.first.predictions, done.second.predictions) == ("automatic annotations", "nanodet_detection")
    assert done.shapes["bbox"].overall.metrics["recall"].difference > 0.1


def test_files_and_comparisons_of_annotations_with_themselves_are_refused(credentials, annotated_task):
    with pytest.raises(ValueError, match="a flow compares with a function by name"):
        evaluate_task(annotated_task, credentials, comparison=ComparisonOptions(against="/etc/secret.json"))
    with pytest.raises(ValueError, match="would be compared with themselves"):
        evaluate_task(annotated_task, credentials, comparison=ComparisonOptions(against="automatic"))
    assert last_run().state_name == "Failed"


def test_compares_with_an_earlier_run(credentials, annotated_task):
    [recorded] = [run for run in recorded_runs() if run.task_id == annotated_task]
    done = evaluate_task(
        annotated_task,
        credentials,
        function="nanodet_detection",
        labels=LABELS,
        comparison=ComparisonOptions(against=f"run:{recorded.run[:8]}", resamples=20),
    )
    assert done.second.predictions == f"run {recorded.run[:8]} (TorchvisionDetectionFunction)"
    assert done.shapes["bbox"].overall.metrics["recall"].difference == 0
