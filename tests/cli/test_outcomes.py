"""What the command line says and exits with when something is unusual, as a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from command_line import run_command
from prefect_cvat.auto_annotation import label_spec

BOXES = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("cat", 2)])
version = "1"

def detect(context, image):
    return [rectangle(1, [0, 0, 9, 9], score=0.5), rectangle(2, [5, 5, 20, 20], score=0.9)]
"""

FAILS = BOXES.replace("    return [", "    raise ZeroDivisionError('told to')\n    return [")

SLOW = BOXES.replace("def detect", "import time\n\ndef detect").replace(
    "    return [", "    time.sleep(0.3)\n    return ["
)

CUTS = """
from prefect_cvat.auto_annotation import InteractionFunctionSpec, InteractionResultShape

spec = InteractionFunctionSpec(min_pos_points=0, min_bounding_boxes=1)

def detect(context, image, prompts):
    (x1, y1), (x2, y2) = prompts.bounding_box
    return [InteractionResultShape(type="polygon", points=[x1, y1, x2, y1, x2, y2])]
"""

ALLOW = "--allow-unmatched-labels"


def command(*arguments):
    return [sys.executable, "-m", "prefect_cvat", *map(str, arguments)]


def run(*arguments, memory=None, timeout=120, **environment):
    if memory is None and not environment:
        return run_command(*arguments, timeout=timeout)
    limited = ["bash", "-c", f'ulimit -v {memory} && exec "$@"', "-"] if memory else []
    return subprocess.run(
        [*limited, *command(*arguments)],
        capture_output=True,
        timeout=timeout,
        env={**os.environ, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", **environment},
    )


@pytest.fixture
def server(sandbox):
    return ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]


@pytest.fixture
def function(tmp_path):
    """Write a function to a file, and name it as options do."""

    def write(text):
        path = tmp_path / "a_function.py"
        path.write_text(text, encoding="utf-8")
        return ["--function-file", path]

    return write


def shapes(client, task_id):
    return [shape for job in client.jobs(task_id) for shape in client.job_annotations(job.id).shapes]


# --- a terminal that cannot show a name ---


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "ascii:strict"])
def test_a_label_that_the_terminal_cannot_show_is_escaped_and_the_run_is_done(
    server, make_task, client, function, encoding
):
    labels = [label_spec(name, None) for name in ("人", "😀", "é")]
    task_id = make_task(1, labels=labels)
    three = BOXES.replace(
        'label_spec("car", 1), label_spec("cat", 2)', 'label_spec("人", 1), label_spec("😀", 2)'
    )
    done = run(*server, "annotate", task_id, *function(three), PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("ascii")
    assert r"1 \u4eba" in out
    assert r"1 \ud83d\ude00" in out
    assert re.search(r"^to undo it: prefect-cvat --server-host \S+ undo \S+$", out, re.MULTILINE)
    assert len(shapes(client, task_id)) == 2


def test_json_is_json_on_a_terminal_that_cannot_show_it(server, make_task, function):
    task_id = make_task(1, labels=[label_spec(name, None) for name in ("人", "😀", "é")])
    three = BOXES.replace(
        'label_spec("car", 1), label_spec("cat", 2)', 'label_spec("人", 1), label_spec("😀", 2)'
    )
    for dry_run in ([], ["--dry-run"]):
        done = run(
            *server, "annotate", task_id, *function(three), "--json", *dry_run, PYTHONIOENCODING="ascii"
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout.decode("ascii"))
        assert (told["trial"] if dry_run else told)["labels"] == {"人": 1, "😀": 1}


def test_what_a_function_shows_is_escaped_too(function):
    named = BOXES.replace('"car"', '"人"')
    path = function(named)
    done = run("functions", "show", "nanodet_detection", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    picture = path[1].with_name("a.png")
    import PIL.Image

    PIL.Image.new("RGB", (64, 48)).save(picture)
    done = run("preview", picture, *path, "-o", picture.with_suffix(".html"), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert rb"1 \u4eba" in done.stdout


# --- every frame fails ---


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["annotate"], []),
        (["annotate"], ["--frames", "1"]),
        (["track"], []),
        (["track"], ["--step", "2"]),
        (["evaluate"], ["--all-frames"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_run_that_skips_all_frames_has_failed(server, make_task, client, function, words, more):
    task_id = make_task(3)
    [job], [car, _] = client.jobs(task_id), client.labels(task_id)
    drawn = {"type": "rectangle", "frame": 0, "label_id": car.id, "points": [1, 1, 9, 9], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    done = run(*server, *words, task_id, *function(FAILS), ALLOW, "--on-frame-error", "skip", *more)
    assert done.returncode == 1, done.stdout
    assert b"the function failed on all of" in done.stderr
    assert b"ZeroDivisionError: told to" in done.stderr
    assert b"Traceback" not in done.stderr


# --- files that cannot be written ---


def unwritable(tmp_path):
    (tmp_path / "a file").write_text("")
    (tmp_path / "a folder").mkdir()
    return [
        (tmp_path / "no" / "such" / "report", "there is no folder"),
        (tmp_path / "a file" / "report", "is not a folder"),
        (tmp_path / "a folder", "it is a folder"),
        ("/proc/report", "cannot be written"),
    ]


@pytest.mark.parametrize("place", range(4), ids=["no folder", "in a file", "a folder", "not writable"])
@pytest.mark.parametrize(
    "words",
    [
        ["annotate", "TASK", "--report", "FILE"],
        ["track", "TASK", "--report", "FILE"],
        ["refine", "TASK", "--report", "FILE"],
        ["export", "TASK", "--to", "FOLDER", "--report", "FILE"],
        ["evaluate", "TASK", "--report", "FILE"],
        ["evaluate", "TASK", "--thresholds", "FILE"],
        ["preview", "--task", "TASK", "-o", "FILE"],
        ["demo", "--report", "FILE"],
    ],
    ids=" ".join,
)
def test_a_file_that_cannot_be_written_is_found_before_anything_is_done(tmp_path, words, place):
    file, why = unwritable(tmp_path)[place]
    meant = {"TASK": 1, "FILE": file, "FOLDER": tmp_path / "dataset"}
    # no server is needed to say so, and no function
    chosen = [] if "demo" in words else ["--function-file", "/no/such/function.py"]
    host = ["--server-host", "http://127.0.0.1:1", "--auth", "a:b"]
    done = run(*host, *(meant.get(word, word) for word in words), *chosen, timeout=60)
    assert done.returncode == 2, done.stderr
    said = " ".join(done.stderr.decode().split())
    assert why in said
    assert str(file) in said
    assert not (tmp_path / "dataset").exists()


def test_a_file_that_is_there_is_not_touched_by_looking(server, make_task, function, tmp_path):
    report = tmp_path / "report.json"
    report.write_text("of before")
    done = run(*server, "annotate", 999_999, *function(BOXES), "--report", report)
    assert done.returncode == 1
    assert report.read_text() == "of before"
    new = tmp_path / "new.json"
    done = run(*server, "annotate", 999_999, *function(BOXES), "--report", new)
    assert done.returncode == 1
    assert not new.exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp")] == []


def test_a_folder_that_is_gone_by_the_end_does_not_hide_the_result(
    server, make_task, client, tmp_path, function
):
    folder = tmp_path / "reports"
    folder.mkdir()
    removes = BOXES.replace(
        "    return [", f"    import shutil; shutil.rmtree({str(folder)!r}, True)\n    return ["
    )
    task_id = make_task(1)
    done = run(*server, "annotate", task_id, *function(removes), ALLOW, "--report", folder / "report.json")
    assert done.returncode == 1
    assert b"1 car" in done.stdout
    assert b"to undo it: prefect-cvat" in done.stdout
    assert b"report.json" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_report_of_an_export_may_lie_in_its_folder(server, make_task, function, tmp_path):
    folder = tmp_path / "dataset"
    done = run(
        *server, "export", make_task(1), *function(BOXES), ALLOW, "--to", folder,
        "--report", folder / "report.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "report.json").read_text())["frames"] == 1


# --- Ctrl-C ---


def interrupted(arguments, when, by=signal.SIGINT):
    """Start a run, press Ctrl-C (or send SIGTERM) once something is so, and say how it has ended."""
    process = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    try:
        deadline = time.monotonic() + 60
        while not when():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(by)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return process.returncode, out.decode(), err.decode()


def test_ctrl_c_says_what_is_there_and_how_to_go_on(server, make_task, client, function):
    task_id = make_task(60)
    slow = function(SLOW)
    code, _, err = interrupted(
        [*server, "annotate", task_id, *slow, ALLOW, "--batch-size", 2],
        lambda: len(shapes(client, task_id)) >= 4,
    )
    assert code == 130, err
    there = len(shapes(client, task_id))
    assert 4 <= there < 60
    assert "interrupted" in err
    assert f"{there} annotations that it has added are in task {task_id}" in err
    assert "running it again completes it" in err
    assert "Traceback" not in err
    undo = re.search(r"to undo it: prefect-cvat --server-host \S+ undo (\S+)", err)
    done = run(*server, "undo", undo[1])
    assert done.returncode == 0, done.stderr
    assert shapes(client, task_id) == []


def test_ctrl_c_before_anything_is_written_says_so(server, make_task, client, function, tmp_path):
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


# --- SIGTERM ---


def test_sigterm_says_what_is_there_and_how_to_undo_it(server, make_task, client, function):
    task_id = make_task(60)
    code, _, err = interrupted(
        [*server, "annotate", task_id, *function(SLOW), ALLOW, "--batch-size", 2],
        lambda: len(shapes(client, task_id)) >= 4,
        by=signal.SIGTERM,
    )
    assert code == 143, err
    there = len(shapes(client, task_id))
    assert "told to end (SIGTERM)" in err
    assert f"{there} annotations that it has added are in task {task_id}" in err
    undo = re.search(r"to undo it: prefect-cvat --server-host \S+ undo (\S+)", err)
    assert run(*server, "undo", undo[1]).returncode == 0
    assert shapes(client, task_id) == []


@pytest.mark.parametrize(
    "words",
    [["annotate", "--dry-run"], ["annotate", "--dry-run", "--on-frame-error", "skip"], ["preview"]],
    ids=" ".join,
)
def test_sigterm_within_a_function_ends_the_command_and_is_no_error_of_the_function(
    server, make_task, function, tmp_path, words
):
    started = tmp_path / "started"
    waits = SLOW.replace("time.sleep(0.3)", f"open({str(started)!r}, 'w').close(); time.sleep(2)")
    name, *more = words
    where = ["--task", make_task(4), "-o", tmp_path / "page"] if name == "preview" else [make_task(4), ALLOW]
    arguments = [*server, name, *where, *function(waits), *more]
    code, out, err = interrupted(arguments, started.exists, by=signal.SIGTERM)
    assert (code, out) == (143, ""), err
    assert err.splitlines() == ["error: told to end (SIGTERM); run it again to complete it"]


@pytest.mark.parametrize("where", ["def create():", "if True:"], ids=["made", "imported"])
def test_sigterm_while_a_function_is_loaded_ends_the_command(server, function, tmp_path, where):
    started = tmp_path / "started"
    waits = f"import time\n{where}\n    open({str(started)!r}, 'w').close(); time.sleep(30)\n"
    arguments = [*server, "annotate", 1, *function(waits)]
    code, _, err = interrupted(arguments, started.exists, by=signal.SIGTERM)
    assert code == 143, err
    assert err.splitlines() == ["error: told to end (SIGTERM); run it again to complete it"]


# --- dry runs ---


def test_a_dry_run_counts_what_would_be_written(server, make_task, client, function):
    task_id = make_task(4, chunk_size=4)
    options = [*server, "annotate", task_id, *function(BOXES), ALLOW]
    would = run(*options, "--dry-run")
    assert would.returncode == 0, would.stderr
    out = would.stdout.decode()
    assert "tried on 4 frames: 4 annotations would be written" in out
    assert "dropped, no such label in the task: 4 cat" in out
    done = run(*options, "--json")
    assert json.loads(done.stdout)["added"] == 4


@pytest.mark.parametrize(
    ("more", "written", "why"),
    [
        (["--label-map", '{"cat": "person"}'], {"car": 4, "person": 4}, {}),
        (["--label-map", '{"cat": "person"}', "--label-thresholds", '{"car": 0.6}'],
         {"person": 4}, {"below_threshold": 4}),
        (["--label-map", '{"cat": "person"}', "--skip-existing-iou", "0.6"],
         {"car": 3, "person": 4}, {"overlapping_existing": 1}),
    ],
    ids=["mapped", "threshold", "existing"],
)  # fmt: skip
def test_a_dry_run_leaves_out_what_a_run_leaves_out(server, make_task, client, function, more, written, why):
    task_id = make_task(4, chunk_size=4)
    [job], [car, _] = client.jobs(task_id), client.labels(task_id)
    drawn = {"type": "rectangle", "frame": 0, "label_id": car.id, "points": [0, 0, 9, 9], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    options = [*server, "annotate", task_id, *function(BOXES), *more, "--json"]
    would = run(*options, "--dry-run")
    assert would.returncode == 0, would.stderr
    trial = json.loads(would.stdout)["trial"]
    assert trial["labels"] == written
    assert {name: trial[name] for name in why} == why
    assert len(shapes(client, task_id)) == 1
    done = run(*options)
    assert json.loads(done.stdout)["labels"] == written


def test_a_dry_run_as_json_is_the_plan(server, make_task, client, function):
    task_id = make_task(5, segment_size=3)
    client.json("PATCH", f"/api/tasks/{task_id}/data/meta", body={"deleted_frames": [1]})
    done = run(*server, "annotate", task_id, *function(BOXES), ALLOW, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["task_id"], plan["size"], plan["frames"]) == (task_id, 5, 4)
    assert plan["jobs"] == [job.id for job in client.jobs(task_id)]
    assert plan["left_out"] == {"deleted": 1}
    assert plan["labels"] == {"car": "car", "cat": None}
    assert (plan["trial"]["frames"], plan["trial"]["labels"]) == (1, {"car": 1})
    assert plan["trial"]["unmatched"] == {"cat": 1}
    assert shapes(client, task_id) == []


def test_a_dry_run_of_a_function_that_fails_says_so(server, make_task, function):
    task_id = make_task(2)
    done = run(*server, "annotate", task_id, *function(FAILS), ALLOW, "--dry-run", "--on-frame-error", "skip")
    assert done.returncode == 0, done.stderr
    assert b"frame 0 failed: " in done.stdout
    assert b"ZeroDivisionError: told to" in done.stdout


def draw_a_car(client, task_id):
    """Draw a box on frame 1 as a human does; returns its job."""
    [job], [car, _] = client.jobs(task_id), client.labels(task_id)
    place = {"type": "rectangle", "points": [5, 5, 30, 30]}
    drawn = {**place, "frame": 1, "label_id": car.id, "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    return job


def test_dry_runs_of_tracking_and_refining_as_json(server, video_task, make_task, client, function):
    task_id = make_task(3)
    job = draw_a_car(client, task_id)
    done = run(*server, "refine", task_id, *function(CUTS), "--dry-run", "--json", "--to", "polygon")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["task_id"], plan["shapes"], plan["to"], plan["jobs"]) == (
        task_id,
        {"car": 1},
        "polygon",
        [job.id],
    )

    done = run(*server, "track", task_id, *function(BOXES), ALLOW, "--dry-run", "--json", "--step", "2")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["frames"], plan["labels"]) == (2, {"car": "car", "cat": None})

    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    done = run(*server, "track", task_id, "--function", "optical_flow_tracking", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert (plan["shapes"], plan["first_frame"], plan["last_frame"]) == ({"car": 1}, 1, 2)


# --- nothing to do ---


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["refine"], "has no rectangle or points on the 3 frames"),
        (["refine", "--source", "manual", "--label", "car"], "of label 'car' of source manual"),
        (["track"], "has no shapes to track of a source other than 'auto'"),
        (["track", "--label", "person", "--direction", "backward"], "and label 'person'"),
        (["annotate", "--frames", "unannotated"], "nothing to do: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_nightly_run_with_nothing_to_do_is_done_and_says_so(
    server, make_task, client, function, words, why
):
    task_id = make_task(3)
    name, *more = words
    if name == "annotate":
        chosen = [*function(BOXES), ALLOW]
        assert run(*server, name, task_id, *chosen).returncode == 0
    elif name == "refine":
        chosen = function(CUTS)
    else:
        pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
        chosen = ["--function", "optical_flow_tracking"]
    before = len(shapes(client, task_id))
    for dry_run in ([], ["--dry-run"]):
        done = run(*server, name, task_id, *chosen, *more, *dry_run)
        assert done.returncode == 0, done.stderr
        said = done.stdout.decode()
        assert why in said
        assert "nothing to do" in said
        assert "undo" not in said
        done = run(*server, name, task_id, *chosen, *more, *dry_run, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["nothing_to_do"]
    assert len(shapes(client, task_id)) == before


def test_refining_twice_is_done_twice(server, make_task, client, function):
    task_id = make_task(2)
    draw_a_car(client, task_id)
    words = [*server, "refine", task_id, *function(CUTS), "--json"]
    told = []
    for _ in range(2):
        done = run(*words)
        assert done.returncode == 0, done.stderr
        told.append(json.loads(done.stdout))
    assert [each["refined"] for each in told] == [1, 0]
    assert (told[0]["nothing_to_do"], bool(told[1]["nothing_to_do"])) == ("", True)


def test_a_label_that_the_task_does_not_have_is_still_an_error(server, make_task, function):
    done = run(*server, "refine", make_task(1), *function(CUTS), "--label", "lorry")
    assert done.returncode == 2
    assert b"has no label 'lorry'" in done.stderr


# --- ranges ---


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ("5-3", "'5-3' ends before it begins"),
        ("0,2-1", "'2-1' ends before it begins"),
        ("", "'' is neither a number nor a range"),
        ("1,", "'' is neither a number nor a range"),
        ("-1", "'-1' is neither a number nor a range"),
        ("1-2-3", "'1-2-3' is neither a number nor a range"),
        ("9" * 30, "is too large"),
    ],
)
@pytest.mark.parametrize(
    "words", [["annotate", "1"], ["export", "1", "--to", "x"], ["preview", "--task", "1"]]
)
def test_ranges_that_are_none_are_refused(words, frames, why, function):
    host = ["--server-host", "http://127.0.0.1:1", "--auth", "a:b"]
    done = run(*host, *words, *function(BOXES), "--frames", frames, timeout=60)
    assert done.returncode == 2, done.stderr
    assert why in " ".join(done.stderr.decode().split())


@pytest.mark.parametrize(
    "words",
    [["annotate"], ["annotate", "--dry-run"], ["track"], ["refine"], ["evaluate"], ["export"], ["preview"]],
    ids=" ".join,
)
def test_a_range_far_beyond_the_task_is_refused_and_takes_no_memory(
    server, make_task, function, tmp_path, words
):
    task_id = make_task(4)
    name, *more = words
    chosen = function(CUTS if name == "refine" else BOXES)
    where = ["--task", task_id] if name == "preview" else [task_id]
    more += ["--to", tmp_path / "dataset"] if name == "export" else []
    started = time.monotonic()
    done = run(*server, name, *where, *chosen, *more, "--frames", "0-999999999", memory=6_000_000)
    assert done.returncode == 2, done.stderr
    assert b"has the frames 0-3; it has no frame 4-999999999" in done.stderr
    assert b"Traceback" not in done.stderr
    assert time.monotonic() - started < 60


def test_a_million_jobs_are_not_asked_for_one_by_one(server, make_task, function):
    done = run(*server, "annotate", make_task(1), *function(BOXES), "--jobs", "1-999999999", memory=6_000_000)
    assert done.returncode == 2, done.stderr
    assert b"names 999999999 jobs" in done.stderr
    assert b"Traceback" not in done.stderr


# --- standard output that cannot be written ---


@pytest.mark.parametrize("output", ["--json > /dev/full", "> /dev/full", "--json (closed)", "(closed)"])
def test_output_that_cannot_be_written_is_an_error_that_says_how_to_undo(
    server, make_task, client, function, tmp_path, output
):
    task_id = make_task(1)
    closes = BOXES.replace("    return [", "    import sys; sys.stdout.close()\n    return [")
    closed = "(closed)" in output
    arguments = [*server, "annotate", task_id, *function(closes if closed else BOXES), ALLOW]
    arguments += ["--report", tmp_path / "report.json", *(["--json"] if "--json" in output else [])]
    to = "> /dev/full" if "full" in output else ""
    done = subprocess.run(
        ["bash", "-c", f'"$@" {to}', "-", *command(*arguments)], capture_output=True, timeout=60
    )
    assert len(shapes(client, task_id)) == 1
    assert b"Traceback" not in done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["labels"] == {"car": 1}
    if output == "--json (closed)":  # it was not the real one
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["labels"] == {"car": 1}
        return
    assert done.returncode == 1, done.stderr
    why = "closed file" if closed else "No space left on device"
    last = done.stderr.decode().splitlines()[-2:]
    assert last[0].startswith("error: standard output cannot be written: ")
    assert why in last[0]
    undo = re.fullmatch(r"to undo it: prefect-cvat --server-host \S+ undo (\S+)", last[1])
    assert run(*server, "undo", undo[1]).returncode == 0


@pytest.mark.parametrize(
    "words",
    [["cache", "show"], ["functions", "list"], ["functions", "show", "grabcut_interaction"]],
    ids=" ".join,
)
def test_what_is_listed_on_a_full_disk_is_an_error_without_a_traceback(words):
    done = subprocess.run(
        ["bash", "-c", '"$@" > /dev/full', "-", *command(*words)], capture_output=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == b"error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "--json >&-", "--json 2>&-"])
def test_a_run_that_is_started_without_standard_streams(server, make_task, client, function, closed):
    task_id = make_task(1)
    printing = BOXES.replace("    return [", "    import os; os.write(2, b'x'); print('x')\n    return [")
    arguments = command(*server, "annotate", task_id, *function(printing), ALLOW)
    done = subprocess.run(["bash", "-c", f'"$@" {closed}', "-", *arguments], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(shapes(client, task_id)) == 1
    if closed == "--json 2>&-":
        assert json.loads(done.stdout)["labels"] == {"car": 1}


# --- words that are no names ---

LONG = "a" * 3000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["annotate", "1", "--function-file", LONG], "cannot be read: File name too long"),
        (["export", "1", "--to", LONG], "File name too long"),
        (["undo", LONG], "there is no record of a run"),
        (["annotate", "1", "--function-file", "x.py", "--frames", LONG], "is neither a number nor a range"),
        (
            ["annotate", "1", "--function-file", "x.py", "--label-map", LONG],
            "neither JSON nor a file of JSON",
        ),
        (["annotate", "1", "--function-file", "x.py", "-p", LONG], "has no value"),
        (["annotate", "1", "--existing", LONG], "Invalid value for '--existing'"),
        (["annotate", "1", "--frames", "\x1b[31mred"], r"\x1b[31mred"),
    ],
    ids=range(8),
)
def test_a_word_that_is_far_too_long_is_refused_in_a_short_line(server, function, words, said):
    file = function(BOXES)[1]
    words = [str(file) if word == "x.py" else word for word in words]
    if "export" not in words and "undo" not in words and "--function-file" not in words:
        words += ["--function-file", file]
    done = run(*server, *words)
    assert done.returncode in (1, 2)
    text = done.stderr.decode()
    assert said in " ".join(text.split())
    assert max(map(len, text.splitlines())) < 1100
    assert "Traceback" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("number", "why"),
    [("0", b"0 is not in the range 1<=x<=2147483647"), ("9" * 30, b"9 is not in the range 1<=x<=2147483647")],
)
def test_a_number_that_no_task_has_is_refused_without_asking_the_server(number, why, function):
    host = ["--server-host", "http://127.0.0.1:1", "--auth", "a:b"]
    for words in (["annotate", number], ["preview", "--task", number]):
        done = run(*host, *words, *function(BOXES), timeout=60)
        assert done.returncode == 2
        assert why in done.stderr


def test_a_function_whose_file_name_is_no_text(server, make_task, client, tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.py")
    file.write_text(BOXES)
    task_id = make_task(1)
    report = tmp_path / os.fsdecode(b"\xfe.json")
    chosen = ["--function-file", file, ALLOW, "--json"]
    done = run(*server, "annotate", task_id, *chosen, "--report", report)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["function"].endswith("\\udcff.py")
    assert json.loads(report.read_text()) == told
    assert len(shapes(client, task_id)) == 1
    assert run(*server, "undo", told["run"]).returncode == 0
    [job], [car, _] = client.jobs(task_id), client.labels(task_id)
    drawn = {"type": "rectangle", "frame": 0, "label_id": car.id, "points": [1, 1, 9, 9], "source": "manual"}
    client.create_job_annotations(job.id, {"shapes": [drawn]})
    for words in (
        ["evaluate", "--all-frames"],
        ["annotate", "--dry-run"],
        ["export", "--to", tmp_path / "x"],
    ):
        name, *more = words
        done = run(*server, name, task_id, *chosen, *more)
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)
