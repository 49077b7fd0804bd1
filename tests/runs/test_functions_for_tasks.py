"""Runs of functions that are made for the labels of their task, against the sandbox over HTTP."""

import pytest

from coloured_tasks import BLUE, RED, create_coloured_task, draw, found_boxes
from flow_functions import coloured_areas
from moving_blocks import Blocks
from prefect_cvat import annotate_task, evaluate_task, track_task
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.evaluation import compare_task
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError, NotFoundError
from prefect_cvat.options.run_options import Options
from prefect_cvat.rendering.run_report_markdown import escape, render_markdown
from prefect_cvat.runs.annotate_run import AnnotateRun
from prefect_cvat.runs.dry_run import dry_run

FACTORY = coloured_areas.create


@pytest.fixture
def made(monkeypatch):
    """The labels of the functions that were made."""
    monkeypatch.setattr(coloured_areas, "made", [])
    monkeypatch.setattr(coloured_areas, "alive", 0)
    return coloured_areas.made


class OneBox:
    spec = DetectionFunctionSpec(labels=[label_spec("red", 0)])

    def detect(self, context, image):
        return [rectangle(0, [0, 0, 5, 5])]


def test_labels_are_found_by_their_names_without_a_mapping(client, made):
    task_id = create_coloured_task(client, "red", "blue_thing", "green")
    report = annotate_task(client, task_id, FACTORY)
    assert report.labels == {"red": 4, "blue_thing": 4}
    assert found_boxes(client, task_id) == {("red", tuple(RED)), ("blue_thing", tuple(BLUE))}
    assert report.function == "flow_functions.coloured_areas"
    assert made == [["red", "blue_thing", "green"]]
    assert coloured_areas.alive == 0  # a function that a run has made, it closes


def test_prompts_say_what_to_look_for(client, made):
    task_id = create_coloured_task(client, "warm", "cold", "blue")
    prompts = {"warm": "something red, something blue", "cold": None, "blue": "nothing"}
    report = annotate_task(client, task_id, FACTORY, prompts=prompts)
    assert report.labels == {"warm": 8}
    assert found_boxes(client, task_id) == {("warm", tuple(RED)), ("warm", tuple(BLUE))}
    assert report.provenance.prompts == prompts
    markdown = render_markdown(report)
    assert f"| prompt of warm | {escape(prompts['warm'])} |" in markdown
    assert "| prompt of cold | left out |" in markdown
    assert made == [["warm", "blue"]]


def test_detections_for_other_prompts_or_labels_are_not_reused(client, made):
    """The function has a `version` that says nothing about its words."""
    task_id = create_coloured_task(client, "red", "cold")
    assert annotate_task(client, task_id, FACTORY).labels == {"red": 4}
    again = annotate_task(client, task_id, FACTORY, existing="replace_auto")
    assert (again.frames_from_cache, again.labels) == (4, {"red": 4})
    report = annotate_task(client, task_id, FACTORY, prompts={"cold": "blue"}, existing="replace_auto")
    assert (report.frames_from_cache, report.labels) == (0, {"red": 4, "cold": 4})

    cold = next(label for label in client.labels(task_id) if label.name == "cold")
    client._transport.json("PATCH", f"/api/labels/{cold.id}", body={"name": "blue"})
    report = annotate_task(client, task_id, FACTORY, existing="replace_auto")
    assert (report.frames_from_cache, report.labels) == (0, {"red": 4, "blue": 4})


def test_a_factory_is_called_after_planning_and_before_validation(client, made):
    task_id = create_coloured_task(client, "red")
    with pytest.raises(NotFoundError):
        annotate_task(client, 999_999, FACTORY)
    with pytest.raises(ValueError, match="frame"):
        annotate_task(client, task_id, FACTORY, frames="900")
    assert made == []
    with pytest.raises(BadFunctionError, match="not labels of the task; did you mean 'red'"):
        annotate_task(client, task_id, FACTORY, prompts={"redd": "red"})
    with pytest.raises(
        BadFunctionError, match="label_map names label 'blue', which the function does not have"
    ):
        annotate_task(client, task_id, FACTORY, label_map={"blue": "red"})
    assert made == [["red"]]
    assert coloured_areas.alive == 0
    assert not found_boxes(client, task_id)


def test_a_function_that_does_not_know_of_labels_is_not_touched(client):
    task_id = create_coloured_task(client, "red")
    assert annotate_task(client, task_id, OneBox()).labels == {"red": 4}
    with pytest.raises(FunctionLoadError, match="function 'OneBox' takes no prompts"):
        annotate_task(client, task_id, OneBox(), prompts={"red": "a red one"})


def test_tasks_with_the_same_labels_share_a_function(client, made):
    waiting = FunctionForTask(FACTORY, name="colours")
    first, second = (create_coloured_task(client, "red", "blue") for _ in range(2))
    third = create_coloured_task(client, "red")
    for task_id in (first, second, third):
        annotate_task(client, task_id, waiting)
    assert made == [["red", "blue"], ["red"]]
    assert coloured_areas.alive == 1  # its owner closes it
    waiting.close()
    assert coloured_areas.alive == 0


def test_tracks_of_what_words_describe(client, made):
    pytest.importorskip("trackers")
    task_id = create_coloured_task(client, "red", "blue", frames=6)
    report = track_task(client, task_id, FACTORY, prompts={"blue": None})
    assert report.tracks == {"red": 1}
    assert made == [["red"]]
    assert coloured_areas.alive == 0


def test_a_function_is_closed_if_a_run_of_tracks_cannot_begin(client, made):
    task_id = create_coloured_task(client, "red")
    with pytest.raises(ValueError, match="tracking and refining support neither"):
        track_task(client, task_id, FACTORY, frames="unannotated")
    assert (made, coloured_areas.alive) == ([["red"]], 0)


def test_a_tracking_function_may_be_made_for_a_task(client):
    made = []

    def create(*, task_labels):
        made.append([label.name for label in task_labels])
        return Blocks()

    task_id = create_coloured_task(client, "red", "blue", frames=6)
    draw(client, task_id, "red", RED, [0])
    report = track_task(client, task_id, create)
    assert (report.tracks, report.source_shapes) == ({"red": 1}, 1)
    assert made == [["red", "blue"]]
    with pytest.raises(FunctionLoadError, match="takes no prompts"):
        track_task(client, task_id, Blocks(), prompts={"red": "a red one"})


def test_evaluation_of_words(client, made):
    task_id = create_coloured_task(client, "red", "cold")
    draw(client, task_id, "red", RED, [0, 1])
    draw(client, task_id, "cold", BLUE, [0, 1])
    done = evaluate_task(client, task_id, FACTORY, options=Options(prompts={"cold": "blue"}))
    assert {name: label.ap for name, label in done.shapes["bbox"].by_label.items()} == {
        "red": 1.0,
        "cold": 1.0,
    }
    assert evaluate_task(client, task_id, FACTORY).shapes["bbox"].by_label["cold"].true_positives == 0


def test_words_are_compared_with_a_function_that_takes_none(client, made):
    task_id = create_coloured_task(client, "red", "cold")
    draw(client, task_id, "cold", BLUE, [0, 1])
    draw(client, task_id, "red", RED, [0, 1])
    words = Options(prompts={"cold": "blue"})
    done = compare_task(client, task_id, FACTORY, OneBox(), options=words, resamples=20)
    ap = done.shapes["bbox"].by_label["cold"].metrics["ap"]
    assert ap.first == 1.0
    assert not ap.second
    done = compare_task(client, task_id, FACTORY, FACTORY, options=words, resamples=20)
    ap = done.shapes["bbox"].by_label["cold"].metrics["ap"]
    assert (ap.first, ap.second) == (1.0, 1.0)


def test_a_dry_run_makes_the_function(client, made):
    task_id = create_coloured_task(client, "red")
    found = dry_run(AnnotateRun(client, task_id, FACTORY, Options()))
    assert found.labels == {"red": "red"}
    assert found.trial.labels == {"red": 2}
    assert made == [["red"]]
    assert not found_boxes(client, task_id)


def test_a_task_with_two_thousand_labels(client, made):
    names = [f"thing {number}" for number in range(1998)]
    task_id = create_coloured_task(client, "red", *names, "blue", frames=2)
    assert annotate_task(client, task_id, FACTORY).labels == {"red": 2, "blue": 2}
    assert len(made[0]) == 2000
