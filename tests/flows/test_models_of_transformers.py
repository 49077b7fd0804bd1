"""Models of transformers by flows, on a real Prefect server: real classes with tiny random weights."""

import pytest

from coloured_tasks import create_coloured_task
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.options.label_and_threshold_options import LabelOptions

pytest.importorskip("transformers")

from tiny_detectors import model_and_processor
from tiny_segmenters import eomt
from tiny_word_models import mm_grounding_dino

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


def parameters(family, folder, **others):
    for part in model_and_processor(family):
        part.save_pretrained(folder)
    return {"model": f"str:{folder}", "score_threshold": "float:0.0", "device": "str:cpu"} | others


def test_a_task_is_annotated_by_the_names_of_its_labels(credentials, client, tmp_path):
    task_id = create_coloured_task(client, "traffic_light", "stop-sign", "car")
    settings = {
        "function": "open_vocabulary_detection",
        "function_parameters": parameters(mm_grounding_dino, tmp_path),
    }
    prompts = {"traffic_light": ["a lamp", "a light"], "car": None}
    report = annotate_task(task_id, credentials, labels=LabelOptions(prompts=prompts), **settings)
    assert report.frames == 4
    assert set(report.labels) <= {"traffic_light", "stop-sign"}
    assert sum(report.labels.values()) == len(client.task_annotations(task_id).shapes) > 0
    with pytest.raises(BadFunctionError, match=r"reads at most 29 tokens for a label"):
        annotate_task(task_id, credentials, labels=LabelOptions(prompts={"car": "x" * 40}), **settings)


def test_panoptic_segmentation(credentials, client, tmp_path):
    task_id = create_coloured_task(client, "cat", "person", "car", "dog")
    report = annotate_task(
        task_id,
        credentials,
        function="transformers_detection",
        function_parameters=parameters(eomt, tmp_path, segmentation="str:panoptic", stuff='json:["car"]'),
    )
    assert report.frames == 4
    assert {shape["type"] for shape in client.task_annotations(task_id).shapes} == {"mask"}
