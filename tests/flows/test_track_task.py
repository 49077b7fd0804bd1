"""The flow that makes tracks, on a real Prefect server, against the sandbox over HTTP."""

import pytest

from clips import clip
from prefect_cvat import ShapeTrackingOptions, TrackOptions
from prefect_cvat.flows.track_task import track_task
from prefect_cvat.options.execution_options import ExecutionSettings

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


def test_tracks_do_not_depend_on_order_of_batches(credentials, client, video_task, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    task_id = video_task(clip(range(60, 84)), segment_size=10)
    tracking = TrackOptions(min_length=1, fill_gap=0)
    report = track_task(
        task_id,
        credentials,
        function="flow_functions.moving",
        track_options=tracking,
        execution=ExecutionSettings(frames_per_batch=1),
    )
    assert (report.batches, report.tracks, report.track_frames) == (6, {"car": 1}, 24)
    found = [client.job_annotations(job.id).tracks for job in client.jobs(task_id)]
    assert [len(of_job) for of_job in found] == [1, 1, 1, 1]

    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
    assert run.name == f"track task {task_id} with flow_functions.moving"
    assert run.state_name == "Completed"


def test_tracks_source_shapes(credentials, client, video_task):
    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    task_id = video_task(clip([7] * 12))
    [job], [car] = client.jobs(task_id), client.labels(task_id)
    seed = {"type": "rectangle", "frame": 5, "label_id": car.id, "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [{**seed, "points": [15, 0, 70, 30]}]})
    following = ShapeTrackingOptions(until=9)
    report = track_task(
        task_id,
        credentials,
        function="optical_flow_tracking",
        shape_tracking_options=following,
        execution=ExecutionSettings(frames_per_batch=1),
    )
    assert (report.tracks, report.removed) == ({"car": 1}, 1)
    [track] = client.job_annotations(job.id).tracks
    assert (track["source"], track["frame"]) == ("semi-auto", 5)
    assert (track["shapes"][-1]["frame"], track["shapes"][-1]["outside"]) == (10, True)


def test_form_describes_every_parameter():
    parameters, definitions = track_task.parameters.properties, track_task.parameters.definitions
    for name, parameter in parameters.items():  # a group has its own description
        group = definitions.get(parameter.get("$ref", "").rpartition("/")[2], {})
        parameter["description"] = parameter.get("description") or group.get("description")
        assert parameter["description"], name
    assert not any("\n" in parameter["description"] for parameter in parameters.values())
    assert definitions["Tracker"]["enum"] == ["bytetrack", "ocsort", "sort"]
