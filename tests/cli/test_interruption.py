"""Commands that are ended by Ctrl-C or SIGTERM."""

import json
import os
import re
import signal
import subprocess

import pytest

from cli.command_runs import ALLOW, SLOW, command, run, shapes
from polling import until


def interrupted(arguments, when, by=signal.SIGINT):
    """Start a run, press Ctrl-C (or send SIGTERM) once something is so, and say how it has ended."""
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )

    def is_so():
        assert process.poll() is None, process.stderr.read()
        return when()

    try:
        until(is_so, seconds=60, every=0.05)
        process.send_signal(by)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, out.decode(), err.decode()


def test_ctrl_c_reports_written_annotations_and_how_to_continue(server, make_task, client, function):
    task_id = make_task(60)
    slow = function(SLOW)
    code, _, err = interrupted(
        [*server, "annotate", task_id, *slow, ALLOW, "--frames-per-batch", 2],
        lambda: len(shapes(client, task_id)) >= 4,
    )
    assert code == 130, err
    there = len(shapes(client, task_id))
    assert 4 <= there < 60
    assert "interrupted" in err
    assert f"{there} annotations of this run are in task {task_id}" in err
    assert "run it again to complete it" in err
    assert "Traceback" not in err
    undo = re.search(r"to undo it: prefect-cvat --server-host \S+ undo (\S+)", err)
    done = run(*server, "undo", undo[1])
    assert done.returncode == 0, done.stderr
    assert shapes(client, task_id) == []


def test_ctrl_c_before_any_write_reports_that_nothing_is_written(
    server, make_task, client, function, tmp_path
):
    started = tmp_path / "started"
    waits = SLOW.replace("time.sleep(0.3)", f"open({str(started)!r}, 'w').close(); time.sleep(2)")
    task_id = make_task(2)
    code, _, err = interrupted([*server, "annotate", task_id, *function(waits), ALLOW], started.exists)
    assert code == 130, err
    assert "interrupted" in err
    assert f"it has left nothing in task {task_id}" in err
    assert shapes(client, task_id) == []


@pytest.mark.parametrize("words", [["evaluate", "--all-frames"], ["export", "--to", "FOLDER"]], ids=" ".join)
def test_ctrl_c_in_commands_that_only_read(server, make_task, client, function, tmp_path, words):
    started = tmp_path / "started"
    waits = SLOW.replace("time.sleep(0.3)", f"open({str(started)!r}, 'w').close(); time.sleep(2)")
    task_id = make_task(4)
    [job], [car, _] = client.jobs(task_id), client.labels(task_id)
    drawn = {"type": "rectangle", "frame": 0, "label_id": car.id, "points": [1, 1, 9, 9], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    name, *more = words
    more = [tmp_path / "dataset" if word == "FOLDER" else word for word in more]
    code, _, err = interrupted([*server, name, task_id, *function(waits), ALLOW, *more], started.exists)
    assert code == 130, err
    assert "interrupted; run it again" in err
    assert "Traceback" not in err
    assert not (tmp_path / "dataset").exists()


def test_sigterm_reports_written_annotations_and_how_to_undo_them(server, make_task, client, function):
    task_id = make_task(60)
    code, _, err = interrupted(
        [*server, "annotate", task_id, *function(SLOW), ALLOW, "--frames-per-batch", 2],
        lambda: len(shapes(client, task_id)) >= 4,
        by=signal.SIGTERM,
    )
    assert code == 143, err
    there = len(shapes(client, task_id))
    assert "ended by SIGTERM" in err
    assert f"{there} annotations of this run are in task {task_id}" in err
    undo = re.search(r"to undo it: prefect-cvat --server-host \S+ undo (\S+)", err)
    assert run(*server, "undo", undo[1]).returncode == 0
    assert shapes(client, task_id) == []


@pytest.mark.parametrize(
    "words",
    [["annotate", "--dry-run"], ["annotate", "--dry-run", "--on-frame-error", "skip"], ["preview"]],
    ids=" ".join,
)
def test_sigterm_in_a_function_ends_the_command_without_a_function_error(
    server, make_task, function, tmp_path, words
):
    started = tmp_path / "started"
    waits = SLOW.replace("time.sleep(0.3)", f"open({str(started)!r}, 'w').close(); time.sleep(2)")
    name, *more = words
    where = ["--task", make_task(4), "-o", tmp_path / "page"] if name == "preview" else [make_task(4), ALLOW]
    arguments = [*server, name, *where, *function(waits), *more]
    code, out, err = interrupted(arguments, started.exists, by=signal.SIGTERM)
    assert (code, out) == (143, ""), err
    assert err.splitlines() == ["error: ended by SIGTERM; run it again to complete it"]


@pytest.mark.parametrize("where", ["def create():", "if True:"], ids=["made", "imported"])
def test_sigterm_while_a_function_is_loaded_ends_the_command(server, function, tmp_path, where):
    started = tmp_path / "started"
    waits = f"import time\n{where}\n    open({str(started)!r}, 'w').close(); time.sleep(30)\n"
    arguments = [*server, "annotate", 1, *function(waits)]
    code, _, err = interrupted(arguments, started.exists, by=signal.SIGTERM)
    assert code == 143, err
    assert err.splitlines() == ["error: ended by SIGTERM; run it again to complete it"]


def test_ctrl_c_in_the_second_of_several_tasks_ends_all_and_sums_up(
    server, make_task, client, function, tmp_path
):
    first, second, third = make_task(2), make_task(60), make_task(2)
    report = tmp_path / "report.json"
    code, out, err = interrupted(
        [*server, "annotate", first, second, third, *function(SLOW), ALLOW, "--frames-per-batch", 2]
        + ["--report", report],
        lambda: len(shapes(client, second)) >= 4,
    )
    assert code == 130, err
    there = len(shapes(client, second))
    assert f"{there} annotations of this run are in task {second}" in err
    assert out.splitlines()[-1] == "1 task: 1 done, 0 failed"
    assert shapes(client, third) == []
    assert [each["task_id"] for each in json.loads(report.read_text())["reports"]] == [first]
