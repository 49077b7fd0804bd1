"""The flow, on a real Prefect server, against the sandbox over HTTP, with real photographs and NanoDet."""

import base64
import io
import json

import PIL.Image
import pytest

from prefect_cvat.auto_annotation import annotate_task, label_spec
from prefect_cvat.auto_annotation.functions import nanodet_detection
from prefect_cvat.cli.demo_run import create_demo_task
from prefect_cvat.exceptions import BadFunctionError, NothingToEvaluateError
from prefect_cvat.flows.evaluate_task import evaluate_task
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.tasks import artifacts
from served_chunks import with_chunks
from task_runs import artifacts_of, last_run, stages_of

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


@pytest.fixture
def corrected_task(client) -> int:
    """The demo's photographs annotated by NanoDet and a human, who has added a person to each, but no cats."""
    task_id = create_demo_task(client)
    labels = {label.name: label.id for label in client.labels(task_id)}
    annotate_task(client, task_id, nanodet_detection.create(), allow_unmatched_labels=True)
    shapes = [
        {key: value for key, value in shape.items() if key != "id"} | {"source": "manual"}
        for shape in client.task_annotations(task_id).shapes
        if shape["label_id"] != labels["cat"]
    ]
    shapes += [
        {"type": "rectangle", "frame": frame, "label_id": labels["person"], "points": [1, 1, 9, 9]}
        | {"source": "manual"}
        for frame in range(8)
    ]
    for job in client.jobs(task_id):
        own = [shape for shape in shapes if job.start_frame <= shape["frame"] <= job.stop_frame]
        client.create_job_annotations(job.id, {"shapes": own, "tags": [], "tracks": []})
    return task_id


def test_evaluates_function_and_publishes_artifacts(credentials, client, corrected_task, monkeypatch):
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0)  # else a short run has no progress bar
    before = client.task_annotations(corrected_task)
    done = evaluate_task(
        corrected_task,
        credentials,
        function="nanodet_detection",
        labels=LabelOptions(allow_unmatched_labels=True),
    )
    assert client.task_annotations(corrected_task) == before
    person = done.shapes["bbox"].by_label["person"]
    assert person.false_negatives == 8
    assert person.recall == pytest.approx((person.truth - 8) / person.truth)

    run = last_run()
    assert run.name == f"evaluate task {corrected_task} with nanodet_detection"
    assert run.state_name == "Completed"
    assert "nanodet_detection" in run.state.message
    assert stages_of(run) >= {"plan task", "batch 0", "finish upload"}
    found = artifacts_of(run)
    task = f"task-{corrected_task}"
    assert f"| person | {person.ap:.3f} |" in found[f"evaluation-{task}"].data
    rows = json.loads(found[f"evaluation-boxes-{task}"].data)
    assert [row["FN"] for row in rows if row["label"] == "person"] == [8]
    curve = found[f"precision-recall-boxes-{task}"].data.removeprefix("data:image/png;base64,")
    assert PIL.Image.open(io.BytesIO(base64.b64decode(curve))).width > 500
    worst_of = {key: found[key] for key in found if key.startswith("worst-frame-")}
    assert all(f"frame {key.split('-')[2]} " in artifact.description for key, artifact in worst_of.items())
    worst = next(iter(worst_of.values())).data.removeprefix("data:image/svg+xml;base64,")
    assert "missed: person" in base64.b64decode(worst).decode()
    assert {key for key in found if key.startswith("progress-")} == {f"progress-{task}"}


def test_evaluates_existing_annotations_without_function(credentials, corrected_task):
    done = evaluate_task(corrected_task, credentials)
    assert done.shapes["bbox"].by_label["person"].false_negatives == 8
    assert last_run().name == f"evaluate existing annotations of task {corrected_task}"


def test_evaluates_function_block(credentials, corrected_task):
    block = CvatFunction(
        function="nanodet_detection", allow_unmatched_labels=True, label_map={"person": None}
    )
    done = evaluate_task(corrected_task, credentials, function_block=block)
    assert "person" not in done.shapes["bbox"].by_label
    assert last_run().name == f"evaluate task {corrected_task} with nanodet_detection"


def test_pictures_that_cannot_be_drawn_are_left_out(credentials, corrected_task, monkeypatch, tmp_path):
    """Of an evaluation without a function, images are read for the pictures and the page only."""
    monkeypatch.setenv("PREFECT_CVAT_PAGES_DIR", str(tmp_path))
    with_chunks(monkeypatch, lambda _, chunk: chunk[: len(chunk) // 2])
    assert evaluate_task(corrected_task, credentials).frames == 8
    keys = set(artifacts_of(last_run()))
    assert {f"evaluation-task-{corrected_task}", f"evaluation-boxes-task-{corrected_task}"} <= keys
    assert not any(key.startswith(("worst-frame", "page")) for key in keys)


def test_missing_or_unmatched_input_fails_the_run(credentials, client, corrected_task):
    with pytest.raises(NothingToEvaluateError, match="has no ground-truth job"):
        evaluate_task(corrected_task, credentials, truth="ground_truth")
    assert last_run().state_name == "Failed"
    assert "has no ground-truth job" in last_run().state.message
    labels = LabelOptions(label_map={"person": "nobody"})
    with pytest.raises(BadFunctionError, match="label 'person' is not in dataset as 'nobody'"):
        evaluate_task(corrected_task, credentials, function="nanodet_detection", labels=labels)
    other = client.create_task("without data", [label_spec("car", None)]).id
    with pytest.raises(LookupError, match="has no data yet"):
        evaluate_task(corrected_task, credentials, truth="task", truth_task_id=other)


def test_form_describes_every_parameter():
    parameters, definitions = evaluate_task.parameters.properties, evaluate_task.parameters.definitions
    for name, parameter in parameters.items():  # a group has its own description
        group = definitions.get(parameter.get("$ref", "").rpartition("/")[2], {})
        parameter["description"] = parameter.get("description") or group.get("description")
        assert parameter["description"], name
    assert parameters["truth"]["enum"] == ["manual", "ground_truth", "task"]
    assert not any("\n" in parameter["description"] for parameter in parameters.values())
