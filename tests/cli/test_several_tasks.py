"""`annotate` on several tasks, and `tasks`, as processes of their own."""

import json

import pytest

from cli.command_runs import FAILS, FUNCTION, shapes
from command_line import run_command_text as run
from pictures import picture
from prefect_cvat.auto_annotation import label_spec


@pytest.fixture
def project(client):
    """A project with the label `car`, and a way to put tasks into it."""
    body = {"name": "streets", "labels": [{"name": "car"}]}
    project_id = client.json("POST", "/api/projects", body=body)["id"]

    def add(name, frames, segment_size=0):
        task = client.create_task(name, [], project_id=project_id, segment_size=segment_size)
        if frames:
            client.upload_images(task.id, {f"{i:04}.png": picture(seed=i) for i in range(frames)})
        return task.id

    return project_id, add


def test_summary_is_printed_where_the_report_cannot_be_written(server, make_task, function_file):
    done = run(
        *server, "annotate", make_task(1), 999999, "--function-file", function_file, "--report", "/dev/full"
    )
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "2 tasks: 1 done, 1 failed"
    assert "cannot be written" in done.stderr


def test_a_failed_task_does_not_stop_the_others(server, make_task, client, function_file, tmp_path):
    good, bad, last = make_task(2), make_task(1, labels=[label_spec("boat", None)]), make_task(1)
    report = tmp_path / "report.json"
    done = run(
        *server, "annotate", good, bad, 999999, last, "--function-file", function_file, "--report", report
    )
    assert done.returncode == 1
    assert f"error: task {bad}: " in done.stderr
    assert "error: task 999999: there is no task 999999" in done.stderr
    assert f"error: 2 tasks failed: {bad}, 999999; run it again to complete it" in done.stderr
    assert done.stdout.splitlines()[-1] == "4 tasks: 2 done, 2 failed"
    assert done.stdout.count("to undo it: prefect-cvat") == 2
    assert [len(shapes(client, task)) for task in (good, bad, last)] == [2, 0, 1]
    written = json.loads(report.read_text())
    assert [each["added"] for each in written["reports"]] == [2, 1]
    assert list(written["failed"]) == [str(bad), "999999"]


def test_a_project_is_annotated_as_its_options_select(server, make_task, client, function_file, project):
    project_id, add = project
    night, jobs, empty = add("night-1", 4), add("day", 4, segment_size=2), add("empty", 0)
    [first, second] = client.jobs(jobs)
    client.json("PATCH", f"/api/jobs/{first.id}", body={"state": "completed"})
    annotate = [*server, "annotate", "--project", project_id, "--function-file", function_file]

    done = run(*annotate, "--name-pattern", "night-*", "--json")
    assert done.returncode == 0, done.stderr
    assert [each["task_id"] for each in json.loads(done.stdout)["reports"]] == [night]
    done = run(*annotate, "--job-state", "new", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"task {jobs} ('day'): 4 frames, 2 to annotate" in done.stdout
    assert shapes(client, jobs) == []
    done = run(*annotate, "--job-state", "new")
    assert done.returncode == 0, done.stderr
    assert f"left out: task {empty}: " in done.stdout
    assert "2 tasks: 2 done, 0 failed, 1 left out" in done.stdout
    assert [len(client.job_annotations(job.id).shapes) for job in (first, second)] == [0, 2]
    done = run(*annotate, "--name-pattern", "no such")
    assert (done.returncode, done.stdout) == (0, "0 tasks: 0 done, 0 failed\n")


def test_an_error_of_all_runs_ends_the_command_and_one_of_a_run_does_not(server, make_task, function):
    nowhere = ["--server-host", "http://127.0.0.1:1", "--access-token", "abc"]
    done = run(*nowhere, "annotate", 1, 2, *function(FUNCTION))
    assert (done.returncode, done.stderr.count("error: no server answers at")) == (1, 1), done.stderr
    assert done.stdout.splitlines() == ["task 1:", "1 task: 0 done, 1 failed"]
    done = run(*server, "annotate", make_task(1), make_task(1), *function(FAILS), "--allow-unmatched-labels")
    assert (done.returncode, done.stderr.count("told to")) == (1, 2), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the ids of tasks, or --project ID, or --all-tasks"),
        ([1, "--project", 7], "give ids of tasks, or --project or --all-tasks, but not both"),
        (["--project", 7, "--all-tasks"], "give one of --project ID and --all-tasks"),
        ([1, 2, "--job-state", "new"], "--job-state selects among the tasks of --project or --all-tasks"),
        ([1, 2, "--jobs", "3"], "--jobs goes with one task"),
        (["--project", 7, "--jobs", "3"], "--jobs goes with one task"),
        (["--project", 7, "--updated-since", "yesterday"], "--updated-since must be a valid datetime"),
    ],
    ids=str,
)
def test_contradictory_choices_of_tasks_are_refused(server, function_file, arguments, message):
    done = run(*server, "annotate", *arguments, "--function-file", function_file)
    assert (done.returncode, message in " ".join(done.stderr.split())) == (2, True), done.stderr


def test_tasks_lists_what_annotate_would_select(server, make_task, client, project):
    project_id, add = project
    first, second, empty = add("a day", 4, segment_size=2), add("a night", 3), add("empty", 0)
    client.json("PATCH", f"/api/jobs/{client.jobs(first)[0].id}", body={"state": "completed"})
    client.json("PATCH", f"/api/tasks/{second}/data/meta", body={"deleted_frames": [1]})
    tasks = [*server, "tasks", "--project", project_id]

    done = run(*tasks)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{first}  a day  annotation  4 frames  0 of 2 jobs accepted  changed 20")
    assert lines[2].startswith(f"{empty}  empty  annotation  no data yet  0 of 0 jobs accepted")
    assert done.stderr == "3 tasks\n"

    done = run(*tasks, "--job-state", "new")
    assert [line for line in done.stdout.splitlines() if line[0] == " "] == [
        "  would annotate 2 frames in 1 job; left out: 2 not selected",
        "  would annotate 2 frames in 1 job; left out: 1 deleted",
    ]
    assert f"left out: task {empty}: " in done.stderr

    done = run(*tasks, "--plan", "--json", "--name-pattern", "a *")
    [one, two] = json.loads(done.stdout)
    assert (one["plan"]["frames"], two["plan"]["left_out"]) == (4, {"deleted": 1})
    assert two["url"].endswith(f"/tasks/{second}")
    assert run(*server, "tasks").returncode == 2
