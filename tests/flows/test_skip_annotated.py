"""The flows leave out annotated frames and objects, on a real Prefect server."""

import pytest

from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.flow_run_keys import run_key
from prefect_cvat.flows.function_choice import choose_function
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.frame_options import FrameOptions
from prefect_cvat.options.run_options import Options

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

FUNCTION = "flow_functions.one_box"


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def draw_what_the_function_finds(client, credentials, task_id):
    """Annotate frame 0, and make its annotations manual."""
    first = client.jobs(task_id)[0].id
    annotate_task(task_id, credentials, function=FUNCTION, frames=FrameOptions(frames=[0]))
    [found] = client.job_annotations(first).shapes
    client.delete_job_annotations(first, {"shapes": [found]})
    client.create_job_annotations(first, {"shapes": [{**found, "id": None, "source": "manual"}]})


def test_shards_leave_out_annotated_objects_and_frames(credentials, client, make_task):
    task_id = make_task(6, segment_size=2)
    draw_what_the_function_finds(client, credentials, task_id)

    report = annotate_shards(
        task_id,
        credentials,
        shard_frames=2,
        function=FUNCTION,
        existing_annotations=ExistingOptions(skip_existing_iou=0.6),
    )
    assert (report.frames, report.added, report.overlapping_existing) == (6, 5, 1)

    for job in client.jobs(task_id)[1:]:
        client.delete_job_annotations(job.id, {"shapes": client.job_annotations(job.id).shapes})
    report = annotate_shards(
        task_id,
        credentials,
        shard_frames=2,
        function=FUNCTION,
        frames=FrameOptions(frames="unannotated"),
    )
    assert (report.frames, report.added, report.left_out) == (4, 4, {"annotated": 2})


def test_key_depends_on_skipped_frames_and_skip_existing_iou():
    function = choose_function(None, "nanodet_detection")

    def key(*, unannotated=False, iou=None):
        frames = FrameOptions(frames="unannotated" if unannotated else None)
        options = Options.of_form(function, frames, ExistingOptions(skip_existing_iou=iou))
        return run_key("https://cvat.example.com", 1, None, "1", "annotate", options)

    assert len({key(), key(unannotated=True), key(iou=0.5), key(iou=0.6)}) == 4
