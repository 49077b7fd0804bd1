"""SAM 3 with random weights in flows, on a real Prefect server."""

import pytest

from clips import clip
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.track_task import track_task
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from sam3_models import write_tiny_sam3

pytest.importorskip("transformers", minversion="5")

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam3")
    write_tiny_sam3(folder)
    return {"model": f"str:{folder}", "device": "str:cpu"}


def test_drawn_objects_are_exemplars(credentials, client, make_task, parameters):
    task_id = make_task(3)
    label = client.labels(task_id)[0]
    box = {
        "type": "rectangle",
        "label_id": label.id,
        "frame": 1,
        "points": [5, 5, 40, 40],
        "source": "manual",
    }
    client.create_job_annotations(client.jobs(task_id)[0].id, {"shapes": [box]})
    report = annotate_task(
        task_id,
        credentials,
        function="sam3_detection",
        function_parameters={**parameters, "exemplars": "str:manual"},
        labels=LabelOptions(prompts={"person": None}, conf_threshold=0.2),
    )
    assert report.labels.keys() == {"car"}
    assert "they depend on the shapes" in report.not_kept
    assert report.added == sum(report.labels.values())


def test_words_become_tracks(credentials, client, video_task, parameters):
    task_id = video_task(clip(range(8)), segment_size=5)
    report = track_task(
        task_id,
        credentials,
        function="sam3_word_tracking",
        function_parameters=parameters,
        labels=LabelOptions(conf_threshold=0.2),
    )
    assert (report.frames, report.tracks.keys()) == (8, {"car"})
    assert client.task_annotations(task_id).tracks
