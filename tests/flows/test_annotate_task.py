"""The flow, on a real Prefect server, against the sandbox over HTTP, with real photographs and NanoDet."""

import logging
import re

import pytest

from pictures import picture
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.cli.demo_run import create_demo_task
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.flow_run_keys import task_tag
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


def flow_runs():
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as prefect:
        return prefect.read_flow_runs(limit=50, sort=FlowRunSort.START_TIME_DESC)


def task_runs(flow_run_id):
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    with get_client(sync_client=True) as prefect:
        return prefect.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])),
            limit=200,
            sort=TaskRunSort.EXPECTED_START_TIME_ASC,
        )


def test_photographs_are_annotated_and_the_official_sdk_reads_the_shapes_back(credentials, client, sandbox):
    task_id = create_demo_task(client)

    report = annotate_task(task_id, credentials)

    from cvat_sdk import make_client

    with make_client(sandbox.url, credentials=(sandbox.user, sandbox.password)) as sdk:
        task = sdk.tasks.retrieve(task_id)
        labels = {label.id: label.name for label in task.get_labels()}
        names = [frame.name for frame in task.get_frames_info()]
        shapes = task.get_annotations().shapes
    found = {(names[shape.frame], labels[shape.label_id]) for shape in shapes}
    assert {
        ("astronaut.png", "person"),
        ("motorcycle_left.png", "motorcycle"),
        ("horse.png", "horse"),
    } <= found
    assert all(0.4 <= shape.score <= 1 and shape.source == "auto" for shape in shapes)
    assert sum(report.labels.values()) == report.added == len(shapes)

    run = flow_runs()[0]
    assert run.name == f"annotate task {task_id} with nanodet_detection"
    assert run.state_name == "Completed"
    assert run.tags[:2] == [task_tag(sandbox.url, task_id), "nanodet_detection"]
    keys = [re.sub("[0-9a-f]{16}", "KEY", tag) for tag in run.tags[2:]]
    assert keys == ["nanodet_detection@KEY", "settings:KEY"]
    assert run.state.message.startswith(f"{len(shapes)} added on {report.frames} frames, ")
    assert run.state.message.endswith(f", {len(report.review)} to look at")
    assert sandbox.password not in str(run.parameters).replace("'username': 'admin'", "")
    [batch] = [task for task in task_runs(run.id) if task.name.startswith("batch 0 (frame")]
    assert re.fullmatch(
        r"\d+ frames: fetch [\d.]+ s, detect [\d.]+ s, remap [\d.]+ s, upload [\d.]+ s", batch.state.message
    )
    assert batch.state_name == "Completed"

    annotate_task(task_id, credentials)
    again = [task for task in task_runs(flow_runs()[0].id) if task.name.startswith("batch")]
    assert {task.state_name for task in again} == {"Cached"}
    assert all("of them detected in an earlier run" in task.state.message for task in again)


@pytest.mark.parametrize("quality", ["original", "compressed"])
def test_a_real_video_is_annotated(credentials, client, sdk, test_data, quality):
    pytest.importorskip("av", reason="PyAV, which videos need, is not installed")
    task = sdk.tasks.create_from_data(
        {"name": "pedestrians", "labels": [{"name": "person"}]},
        [test_data / "video" / "pedestrians.mp4"],
        data_params={"image_quality": 70, "frame_step": 50, "use_zip_chunks": True},
    )
    report = annotate_task(
        task.id,
        credentials,
        labels=LabelOptions(allow_unmatched_labels=True),
        frames=FrameOptions(quality=quality),
    )
    shapes = [shape for job in client.jobs(task.id) for shape in client.job_annotations(job.id).shapes]
    assert {shape["frame"] for shape in shapes} == {0, 1, 2}
    assert report.added == len(shapes)


def test_errors_fail_the_run_without_retries(credentials, client):
    task = client.create_task("no such label", [label_spec("boat", None)])
    client.upload_images(task.id, {"a.png": picture()})

    with pytest.raises(BadFunctionError, match="in 79 points"):
        annotate_task(task.id, credentials)

    run = flow_runs()[0]
    assert run.state_name == "Failed"
    assert "label 'person' is not in dataset" in run.state.message
    assert [(t.name.split("-")[0], t.state_name) for t in task_runs(run.id)] == [("plan task", "Completed")]


def test_no_log_record_has_kilobytes(credentials, client, monkeypatch):
    """Prefect logs the error of a run with its whole traceback."""
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    records = []
    handler = logging.Handler()
    handler.setFormatter(logging.Formatter())
    handler.emit = lambda record: records.append(handler.format(record))
    task = client.create_task("cursed", [label_spec("car", None)])
    client.upload_images(task.id, {"cursed.png": picture()})
    loggers = [logging.getLogger(f"prefect.{kind}_runs") for kind in ("task", "flow")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with pytest.raises(BadFunctionError, match="cursed"):
            annotate_task(task.id, credentials, function="flow_functions.one_box")
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    with_traceback = [record for record in records if "File " in record]
    assert with_traceback
    assert max(map(len, records)) < 2000
    assert all("is cursed" in record for record in with_traceback)


def test_form_describes_every_parameter():
    parameters, definitions = annotate_task.parameters.properties, annotate_task.parameters.definitions
    for name, parameter in parameters.items():  # a group has its own description
        group = definitions.get(parameter.get("$ref", "").rpartition("/")[2], {})
        parameter["description"] = parameter.get("description") or group.get("description")
        assert parameter["description"], name
    assert parameters["existing_annotations"]["default"]["existing"] == "keep"
    assert not any("\n" in parameter["description"] for parameter in parameters.values())
