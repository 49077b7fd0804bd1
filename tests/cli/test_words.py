"""Words on the command line: `--prompts` of the commands that run a function, and the command `prompts`."""

import json
import pathlib

import pytest

from coloured_tasks import BLUE, RED, coloured_picture, create_coloured_task, draw, found_boxes
from command_line import run_command_text as run

FUNCTION = ["--function", "flow_functions.coloured_areas"]


@pytest.fixture(autouse=True)
def _function_is_allowed(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")


def test_a_task_is_annotated_without_a_label_map(server, client):
    task_id = create_coloured_task(client, "red", "blue_thing")
    done = run(*server, "annotate", task_id, *FUNCTION)
    assert done.returncode == 0, done.stderr
    assert found_boxes(client, task_id) == {("red", tuple(RED)), ("blue_thing", tuple(BLUE))}


def test_prompts_are_json_or_a_file(server, client, tmp_path):
    prompts = {"warm": "a red thing", "sky": None}
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps(prompts))
    for given in (json.dumps(prompts), file):
        task_id = create_coloured_task(client, "warm", "sky")
        done = run(*server, "annotate", task_id, *FUNCTION, "--prompts", given, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["provenance"]["prompts"] == prompts
        assert found_boxes(client, task_id) == {("warm", tuple(RED))}


ENSEMBLE = [
    "--function", "ensemble", "-p", f"words=str:{FUNCTION[1]}", "-p", "boxes=str:nanodet_detection",
    "-p", "boxes.device=str:cpu", "--allow-unmatched-labels",
]  # fmt: skip


def test_an_ensemble_annotates_tasks_with_different_labels(server, client):
    first, second = create_coloured_task(client, "red"), create_coloured_task(client, "blue", "warm")
    done = run(*server, "annotate", first, second, *ENSEMBLE)
    assert done.returncode == 0, done.stderr
    assert found_boxes(client, first) == {("red", tuple(RED))}
    assert found_boxes(client, second) == {("blue", tuple(BLUE))}


TILED = ["--function", "tiled", "-p", f"function=str:{FUNCTION[1]}"]


@pytest.mark.parametrize("function", [ENSEMBLE, TILED], ids=["ensemble", "tiled"])
def test_prompts_are_for_functions_within_others(server, client, function):
    task_id = create_coloured_task(client, "warm")
    done = run(*server, "annotate", task_id, *function, "--prompts", '{"warm": "a red thing"}')
    assert done.returncode == 0, done.stderr
    assert found_boxes(client, task_id) == {("warm", tuple(RED))}


@pytest.mark.parametrize(
    ("prompts", "code", "message"),
    [
        ('{"redd": "red"}', 1, "there are prompts for 'redd', not labels of the task; did you mean 'red'?"),
        ('{"red": "Blue"}', 1, "labels 'red' and 'blue' have the same prompt 'blue'"),
        ('{"red": "..."}', 1, "the prompt of label 'red' is '...', which has no words; give null to leave"),
        ('{"red": 3}', 2, "--prompts: that of label 'red' must be words, a list of words, or null"),
        ("[]", 2, "neither JSON nor a file of JSON"),
        ("nowhere.json", 2, "neither JSON nor a file of JSON: [Errno 2] No such file"),
    ],
)
def test_bad_prompts_are_refused_in_one_line(server, client, prompts, code, message):
    task_id = create_coloured_task(client, "red", "blue")
    done = run(*server, "annotate", task_id, *FUNCTION, "--prompts", prompts)
    assert done.returncode == code, done.stderr
    assert sum(message in line for line in done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert not found_boxes(client, task_id)


def test_a_function_without_words_refuses_prompts(server, client, function_file):
    task_id = create_coloured_task(client, "car")
    done = run(
        *server, "annotate", task_id, "--function-file", function_file, "--prompts", '{"car": "a car"}'
    )
    assert done.returncode == 1
    assert f"function {str(function_file)!r} takes no --prompts: it is not made for the labels" in done.stderr


def test_a_preview_takes_labels_of_a_task_or_of_a_parameter(server, client, tmp_path):
    picture, page = tmp_path / "a.png", tmp_path / "page.html"
    picture.write_bytes(coloured_picture(red=RED, blue=BLUE))
    done = run("preview", picture, *FUNCTION, "-o", page)
    assert done.returncode == 1
    assert """on the command line -p 'task_labels=json:["car"]'""" in done.stderr
    labels = ["-p", 'task_labels=json:["red", "sky"]']
    done = run("preview", picture, *FUNCTION, *labels, "--prompts", '{"sky": "a blue one"}', "-o", page)
    assert done.returncode == 0, done.stderr
    assert ("1 red" in done.stdout, "1 sky" in done.stdout) == (True, True)

    task_id = create_coloured_task(client, "blue")
    done = run(*server, "preview", "--task", task_id, *FUNCTION, "-o", page)
    assert done.returncode == 0, done.stderr
    assert "4 blue" in done.stdout


def test_the_labels_of_a_function_for_given_labels_are_shown():
    shown = ["functions", "show", FUNCTION[1]]
    done = run(*shown, "-p", 'task_labels=json:["red", {"name": "blue", "type": "mask"}]')
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "red", "(rectangle)", "1", "blue", "(rectangle)"]
    done = run(*shown)
    assert done.returncode == 1
    assert "is made for the labels of a task" in done.stderr


def test_words_are_tried_and_the_best_annotate_another_task(server, client, tmp_path):
    task_id = create_coloured_task(client, "warm", "blue", "crack", "sky")
    draw(client, task_id, "warm", RED, [0, 1])
    draw(client, task_id, "blue", BLUE, [0, 2])
    draw(client, task_id, "crack", [0, 0, 3, 3], [0])
    prompts = tmp_path / "prompts.json"
    wordings = '{"warm": ["a red thing", "a warm thing, blue"]}'
    done = run(*server, "prompts", task_id, *FUNCTION, "--wordings", wordings, "-o", prompts)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["warm", "a", "red", "thing", "1.000", "1.000", "2"] in [row[:7] for row in rows]
    assert "words do not find label 'crack': the best AP50 is 0.000, less than 0.1" in done.stdout
    assert "not tried: label 'sky' has no manual shapes on these frames" in done.stdout
    assert json.loads(prompts.read_text()) == {"warm": "a red thing", "blue": "blue", "crack": None}

    other = create_coloured_task(client, "warm", "blue", "crack", "sky")
    done = run(*server, "annotate", other, *FUNCTION, "--prompts", prompts)
    assert done.returncode == 0, done.stderr
    assert found_boxes(client, other) == {("warm", tuple(RED)), ("blue", tuple(BLUE))}


def test_the_trial_as_json_and_its_errors(server, client, function_file, tmp_path):
    task_id = create_coloured_task(client, "red", "crack")
    trial = [*server, "prompts", task_id]
    done = run(*trial, *FUNCTION)
    assert done.returncode == 1
    assert "there is no ground truth" in done.stderr
    draw(client, task_id, "red", RED, [0])
    done = run(*trial, *FUNCTION, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompts"] == {"red": "red"}
    done = run(*trial, *FUNCTION, "--no-suggest", "--wordings", '{"red": ["a red one"]}', "--json")
    assert [each["wording"] for each in json.loads(done.stdout)["results"]] == ["a red one"]
    for options, message in [
        (
            [*FUNCTION, "--wordings", '{"redd": "red"}'],
            "--wordings names 'redd', not a label of the task; did",
        ),
        ([*FUNCTION, "--wordings", '{"red": 3}'], "--wordings of label 'red': 3 is neither words nor a list"),
        (["--function-file", function_file], "takes no --prompts"),
        ([*FUNCTION, "-o", tmp_path], "it is a folder; name a file"),
    ]:
        done = run(*trial, *options)
        assert done.returncode in (1, 2)
        assert message in done.stderr
