"""Flows with a function that is made for the labels of each task, on a real Prefect server."""

import pytest

from coloured_tasks import BLUE, RED, create_coloured_task, draw, found_boxes
from flow_functions import coloured_areas
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError, RunsFailedError
from prefect_cvat.flows.annotate_project import annotate_project
from prefect_cvat.flows.annotate_shards import annotate_shards
from prefect_cvat.flows.annotate_task import annotate_task
from prefect_cvat.flows.evaluate_task import evaluate_task
from prefect_cvat.flows.fan_out import FanOut
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.evaluation_options import ComparisonOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.task_selection_options import TaskSelection

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

HERE = FanOut(deployment=None)
FUNCTION = "flow_functions.coloured_areas"


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """The labels of the functions that were made."""
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(coloured_areas, "made", [])
    monkeypatch.setattr(coloured_areas, "alive", 0)
    return coloured_areas.made


def test_a_task_is_annotated_by_the_names_of_its_labels(credentials, client, made):
    task_id = create_coloured_task(client, "red", "blue_thing")
    report = annotate_task(task_id, credentials, function=FUNCTION)
    assert report.labels == {"red": 4, "blue_thing": 4}
    assert made == [["red", "blue_thing"]]
    assert coloured_areas.alive == 0


def test_prompts_come_from_the_form_or_a_block(credentials, client):
    task_id = create_coloured_task(client, "warm", "sky")
    prompts = {"warm": "something red", "sky": None}
    report = annotate_task(task_id, credentials, function=FUNCTION, labels=LabelOptions(prompts=prompts))
    assert report.labels == {"warm": 4}
    assert report.provenance.prompts == prompts
    CvatFunction(function=FUNCTION, prompts={"warm": ["a blue one"]}).save("by-words", overwrite=True)
    block = CvatFunction.load("by-words")
    report = annotate_task(create_coloured_task(client, "warm"), credentials, function_block=block)
    assert (report.labels, report.provenance.prompts) == ({"warm": 4}, {"warm": ["a blue one"]})

    block = CvatFunction(function="flow_functions.prompted_models", prompts={"warm": "a car"})
    report = annotate_task(create_coloured_task(client, "warm"), credentials, function_block=block)
    assert report.labels == {"warm": report.frames}

    with pytest.raises(BadFunctionError, match="prompts for 'red', not labels of the task"):
        annotate_task(task_id, credentials, function=FUNCTION, labels=LabelOptions(prompts={"red": "red"}))
    with pytest.raises(FunctionLoadError, match="'flow_functions.one_box' takes no 'Prompts'"):
        annotate_task(
            task_id, credentials, function="flow_functions.one_box", labels=LabelOptions(prompts={"sky": "x"})
        )
    with pytest.raises(FunctionLoadError, match="takes no prompts"):
        CvatFunction(function="flow_functions.one_box", prompts={"sky": "x"}).get_function()


def test_words_are_compared_with_a_function_that_takes_none(credentials, client):
    task_id = create_coloured_task(client, "warm", "car")
    draw(client, task_id, "warm", RED, [0])
    draw(client, task_id, "car", [1, 2, 30, 40], [0])
    labels = LabelOptions(prompts={"warm": "something red"}, allow_unmatched_labels=True)
    for against, expected in [("flow_functions.one_box", None), (FUNCTION, 1.0)]:
        comparison = ComparisonOptions(against=against, resamples=20)
        done = evaluate_task(task_id, credentials, function=FUNCTION, labels=labels, comparison=comparison)
        of_label = done.second.shapes["bbox"].by_label.get("warm")
        assert done.first.shapes["bbox"].by_label["warm"].ap == 1.0
        assert ((of_label and of_label.ap) or None) == expected


def test_labels_differ_from_task_to_task(credentials, client, made):
    body = {"name": "colours", "labels": [{"name": "red"}]}
    project_id = client._transport.json("POST", "/api/projects", body=body)["id"]
    first, second = (create_coloured_task(client, project_id=project_id) for _ in range(2))
    selection = TaskSelection()
    report = annotate_project(credentials, project_id, selection, function=FUNCTION, fan_out=HERE)
    assert report.completed == [f"task {first}", f"task {second}"]
    assert made == [["red"], ["red"]]
    again = annotate_project(credentials, project_id, selection, function=FUNCTION, fan_out=HERE)
    assert again.already_annotated == [f"task {first}", f"task {second}"]
    once_more = annotate_project(credentials, project_id, selection, function=FUNCTION, fan_out=HERE)
    assert once_more.already_annotated == [f"task {first}", f"task {second}"]

    # another label: what was annotated was not looked for by this word
    labels = [{"name": "blue"}]
    client._transport.json("PATCH", f"/api/projects/{project_id}", body={"labels": labels})
    report = annotate_project(credentials, project_id, selection, function=FUNCTION, fan_out=HERE)
    assert report.completed == [f"task {first}", f"task {second}"]
    assert found_boxes(client, second) == {("red", tuple(RED)), ("blue", tuple(BLUE))}

    other_words = LabelOptions(prompts={"blue": None})
    report = annotate_project(
        credentials, project_id, selection, function=FUNCTION, labels=other_words, fan_out=HERE
    )
    assert report.completed == [f"task {first}", f"task {second}"]


def test_shards_make_the_function_for_their_task(credentials, client, made):
    task_id = create_coloured_task(client, "red", "cold", frames=6, segment_size=2)
    report = annotate_shards(
        task_id, credentials, shard_frames=2, function=FUNCTION, labels=LabelOptions(prompts={"cold": "blue"})
    )
    assert (report.frames, report.labels) == (6, {"red": 6, "cold": 6})
    assert made == [["red", "cold"]] * 3
    with pytest.raises(RunsFailedError, match="prompts for 'hot', not labels of the task"):
        annotate_shards(
            task_id,
            credentials,
            shard_frames=6,
            function=FUNCTION,
            labels=LabelOptions(prompts={"hot": "red"}),
        )


def test_words_are_evaluated(credentials, client):
    task_id = create_coloured_task(client, "cold")
    draw(client, task_id, "cold", BLUE, [0, 1])
    done = evaluate_task(
        task_id, credentials, function=FUNCTION, labels=LabelOptions(prompts={"cold": "blue"})
    )
    assert done.shapes["bbox"].ap == 1.0
