"""Trials of wordings, against the sandbox over HTTP."""

import json

import pytest

from coloured_tasks import BLUE, RED, coloured_picture, create_coloured_task, draw
from flow_functions import coloured_areas
from prefect_cvat.auto_annotation import label_spec, prompts_for_labels
from prefect_cvat.auto_annotation.labels_for_factories import labels_of_task
from prefect_cvat.evaluation.prompt_trial import suggested_wordings, try_prompts
from prefect_cvat.evaluation.report.prompt_trial_report import prompt_lines, write_prompts
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError, NothingToEvaluateError

FACTORY = coloured_areas.create


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("traffic_light", ["traffic light", "a traffic light", "a photo of a traffic light"]),
        ("apple", ["apple", "an apple", "a photo of an apple"]),
        ("...", []),
    ],
)
def test_wordings_are_suggested(name, expected):
    assert suggested_wordings(name) == expected


@pytest.fixture
def task_id(client):
    task_id = create_coloured_task(client, "warm", "cold")
    draw(client, task_id, "warm", RED, [0, 1, 2])
    draw(client, task_id, "cold", BLUE, [0, 1])
    return task_id


def test_model_is_made_once_and_images_are_read_once(client, task_id, monkeypatch):
    monkeypatch.setattr(coloured_areas, "made", [])
    monkeypatch.setattr(coloured_areas, "seen", 0)
    alive = coloured_areas.alive
    done = try_prompts(
        client, task_id, FACTORY, {"warm": ["red", "a blue thing"], "cold": ["a blue thing", "RED"]}
    )
    assert (done.frames, coloured_areas.seen, coloured_areas.alive) == (3, 3, alive)
    [made] = coloured_areas.made
    # wordings of two labels are looked for once
    assert sorted(map(str.lower, made)) == [
        "a blue thing",
        *("a cold", "a photo of a cold", "a photo of a warm", "a warm", "cold", "red", "warm"),
    ]
    assert done.prompts == {"warm": "red", "cold": "a blue thing"}
    best = {each.label: each for each in reversed(done.results)}
    assert [(each.ap, each.objects) for each in best.values()] == [(1.0, 2), (1.0, 3)]
    assert {each.ap for each in done.results if each.wording == "RED"} == {0.0}


def test_a_wording_with_false_positives_is_worse(client, task_id):
    done = try_prompts(client, task_id, FACTORY, {"warm": ["a red one"], "cold": ["blue"]})
    # "cold" was drawn on two of the three frames on which the blue area is found
    cold = next(each for each in done.results if each.label == "cold")
    assert cold.wording == "blue"
    assert cold.best_f1 == pytest.approx(0.8)
    assert (done.not_found, done.not_tried) == ({}, {})


def test_words_that_find_nothing(client, task_id):
    done = try_prompts(client, task_id, FACTORY, {"cold": ["a blue sky, clear"]})
    assert done.prompts == {"warm": None, "cold": ["a blue sky, clear"]}  # not two wordings
    assert done.not_found == {"warm": 0.0}
    assert any("words do not find label 'warm'" in line for line in prompt_lines(done))


def test_labels_that_cannot_be_tried(client):
    task = client.create_task("others", [label_spec("...", None), label_spec("weather", None, type="tag")])
    client.upload_images(task.id, {"a.png": coloured_picture(red=RED)}, chunk_size=1)
    draw(client, task.id, "...", RED, [0])
    with pytest.raises(NothingToEvaluateError) as caught:
        try_prompts(client, task.id, FACTORY)
    assert "'...' has no words in its name; give some with wordings" in str(caught.value)
    assert "'weather' is of type tag, which words do not find" in str(caught.value)
    assert try_prompts(client, task.id, FACTORY, {"...": "red"}).prompts == {"...": "red"}


def test_only_given_wordings_are_tried_without_suggestions(client, task_id):
    done = try_prompts(client, task_id, FACTORY, {"warm": ["red", "something red"]}, suggest=False)
    assert [(each.label, each.wording) for each in done.results] == [
        ("warm", "red"),
        ("warm", "something red"),
        ("cold", "cold"),
    ]


def test_a_wording_goes_to_the_label_that_it_finds_better(client, task_id):
    wordings = {"warm": ["blue", "red", "reddish"], "cold": ["BLUE", "a blue one"]}
    # "warm" and "cold" have objects in the same places on two frames
    draw(client, task_id, "warm", BLUE, [0, 1, 2])
    done = try_prompts(client, task_id, FACTORY, wordings, suggest=False)
    by_label = {label: [each for each in done.results if each.label == label] for label in ("warm", "cold")}
    assert by_label["warm"][0].wording in ("blue", "red")
    assert by_label["cold"][0].ap > 0
    chosen = done.prompts
    assert {chosen["warm"].lower(), chosen["cold"].lower()} in ({"red", "blue"}, {"red", "a blue one"})
    prompts_for_labels(labels_of_task(client.labels(task_id)), done.prompts)

    done = try_prompts(client, task_id, FACTORY, {"warm": "blue", "cold": "Blue"}, suggest=False)
    assert done.prompts == {"warm": None, "cold": "Blue"}
    assert done.taken == {"warm": "cold"}
    assert (
        "label 'warm' does not get its best wording 'blue', which is that of label 'cold';"
        " it is left out (null) in the prompts"
    ) in prompt_lines(done)


def test_prompts_fit_labels_that_were_not_tried(client, tmp_path):
    task_id = create_coloured_task(client, "warm", "red", "???")
    draw(client, task_id, "warm", RED, [0, 1])
    labels = labels_of_task(client.labels(task_id))
    done = try_prompts(client, task_id, FACTORY, {"warm": ["red", "a red one"]}, suggest=False)
    assert done.prompts == {"warm": "a red one", "???": None}
    assert done.taken == {"warm": "red"}
    assert any(line.endswith("of label 'red'; it gets 'a red one'") for line in prompt_lines(done))
    file = tmp_path / "best.json"
    write_prompts(done, file)
    assert [each.label.name for each in prompts_for_labels(labels, json.loads(file.read_text()))] == [
        "warm",
        "red",
    ]


def test_prompts_that_no_run_would_take_are_not_written(client, tmp_path):
    task_id = create_coloured_task(client, "warm")
    draw(client, task_id, "warm", RED, [0, 1])
    done = try_prompts(client, task_id, FACTORY, {"warm": "green"}, suggest=False)
    file = tmp_path / "best.json"
    with pytest.raises(BadFunctionError, match="the prompts are not written to .*: no label of the task can"):
        write_prompts(done, file)
    assert not file.exists()


def test_a_comma_separates_wordings_as_in_prompts(client, task_id):
    given = {"warm": "red, , something  red", "cold": ["blue, not red"]}
    done = try_prompts(client, task_id, FACTORY, given, suggest=False)
    assert sorted(each.wording for each in done.results) == ["blue, not red", "red", "something red"]
    for bad in ("", ",", "red, ?", [["red"]]):
        with pytest.raises(ValueError, match="is neither words nor a list of them"):
            try_prompts(client, task_id, FACTORY, {"warm": bad})


def test_a_function_without_words_is_refused(client, task_id):
    with pytest.raises(FunctionLoadError, match="takes no prompts"):
        try_prompts(client, task_id, lambda *, task_labels: None)
