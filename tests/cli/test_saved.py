"""The command `saved`, as a process of its own."""

import json

import pytest

from command_line import run_command_text
from corrected_tasks import Boxes, People
from prefect_cvat import annotate_task
from prefect_cvat.auto_annotation import label_spec


@pytest.fixture
def server(sandbox):
    return ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]


@pytest.fixture(autouse=True)
def runs(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / "runs"))
    return {"PREFECT_CVAT_RUNS_DIR": str(tmp_path / "runs")}


def test_says_what_was_saved_by_function_and_label(server, client, make_task, runs):
    people = People(client, make_task(6, segment_size=3))
    annotate_task(client, people.task_id, Boxes())
    people.delete(people.shapes(0)[1])
    done = run_command_text(*server, "saved", people.task_id, "--draw-box", "30", **runs)
    assert done.returncode == 0, done.stderr
    assert "s saved (" in done.stdout
    [row] = [line.split() for line in done.stdout.splitlines() if line.startswith("  Boxes")]
    assert row[:6] == ["Boxes", "car", "1", "0", "0", "1"]
    assert "draw_box 30" in done.stdout

    done = run_command_text(*server, "saved", people.task_id, "--looked-at", "0-2", "--json", **runs)
    said = json.loads(done.stdout)
    assert (said["frames"], said["by_label"][0]["confirmed"], said["by_label"][0]["deleted"]) == (3, 5, 1)
    assert said["seconds_saved"] == pytest.approx(5 * (7 - 1.6) - 1.6 - 2.7)


def test_adds_up_a_project(server, client, runs):
    body = {"name": "streets", "labels": [{"name": "car"}, {"name": "person"}]}
    project = client._transport.json("POST", "/api/projects", body=body)["id"]
    from pictures import picture

    for _ in range(2):
        task = client.create_task("a task", [], project_id=project)
        client.upload_images(task.id, {f"{i:04}.png": picture(64, 48, seed=i) for i in range(2)})
        annotate_task(client, task.id, Boxes())
        people = People(client, task.id)
        people.delete(people.shapes(0)[1])
    done = run_command_text(*server, "saved", "--project", project, **runs)
    assert done.returncode == 0, done.stderr
    assert f"project {project} at " in done.stdout
    assert "on 2 of 4 frames" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the id of a task, or --project ID, or --all-tasks"),
        (["1", "--project", "2"], "give the id of a task"),
        (["--project", "2", "--looked-at", "0-3"], "--looked-at names frames of one task"),
        (["1", "--looked-at", "x"], "neither a number nor a range"),
        (["1", "--draw-box", "-1"], "--draw-box"),
    ],
)
def test_wrong_usage_is_named(server, runs, arguments, message):
    done = run_command_text(*server, "saved", *arguments, **runs)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_frames_that_the_task_does_not_have_are_refused(server, make_task, runs):
    done = run_command_text(*server, "saved", make_task(6), "--looked-at", "900-999", **runs)
    assert done.returncode == 2
    assert "has 6 frames, numbered from 0, and no 900-999" in " ".join(done.stderr.split())


def test_task_without_a_recorded_run_fails_with_the_reason(server, make_task, runs):
    done = run_command_text(*server, "saved", make_task(2), **runs)
    assert done.returncode == 1
    assert "no run on task" in done.stderr


def test_task_without_data_fails_with_the_reason(server, client, runs):
    task = client.create_task("empty", [label_spec("car", None)])
    done = run_command_text(*server, "saved", task.id, **runs)
    assert done.returncode == 1
    assert "no data" in done.stderr
