"""Flows that have nothing to do complete and report it; flows fail if their function fails on all frames."""

import pytest

from pictures import picture
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.exceptions import BadFunctionError, RunsFailedError
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.refine_task import refine_task
from prefect_cvat.flows.track_task import track_task
from prefect_cvat.options.execution_options import ExecutionSettings
from prefect_cvat.options.frame_options import FrameOptions

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"
SKIP = ExecutionSettings(on_frame_error="skip")


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def last_state():
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as prefect:
        [run] = prefect.read_flow_runs(limit=1, sort=FlowRunSort.START_TIME_DESC)
    return run.state


@pytest.mark.parametrize(
    ("run", "function", "why"),
    [
        (refine_task, "grabcut_interaction", "has no rectangle or points on the 3 frames"),
        (track_task, "optical_flow_tracking", "has no shapes to track"),
    ],
    ids=["refine", "follow"],
)
def test_nightly_run_without_tasks_completes(credentials, client, make_task, run, function, why):
    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    task_id = make_task(3)
    report = run(task_id, credentials, function=function)
    assert why in report.nothing_to_do
    assert last_state().is_completed()
    assert client.task_annotations(task_id).shapes == []


@pytest.mark.parametrize("run", [annotate_task, annotate_shards], ids=["annotate", "shards"])
def test_run_on_annotated_task_completes(credentials, make_task, run):
    task_id = make_task(3)
    unannotated = FrameOptions(frames="unannotated")
    assert run(task_id, credentials, function=FUNCTION, frames=unannotated).nothing_to_do == ""
    report = run(task_id, credentials, function=FUNCTION, frames=unannotated)
    assert (report.frames, report.added) == (0, 0)
    assert report.nothing_to_do == f"task {task_id} has no frame to process (left out: 3 annotated)"
    assert last_state().is_completed()


@pytest.mark.parametrize(
    ("run", "kind"),
    [(annotate_task, BadFunctionError), (track_task, BadFunctionError), (annotate_shards, RunsFailedError)],
    ids=["annotate", "track", "shards"],
)
def test_run_that_skips_all_frames_fails(credentials, client, run, kind):
    task = client.create_task("cursed", [label_spec("car", None)])
    client.upload_images(task.id, {"cursed.png": picture()})
    with pytest.raises(kind, match="the function failed on all of 1 frame, on frame 0 with: .*cursed"):
        run(task.id, credentials, function=FUNCTION, execution=SKIP)
    state = last_state()
    assert state.is_failed()
    assert "the function failed on all of 1 frame" in state.message
