"""What commands print and exit with when all frames fail, nothing is to do, or arguments are refused."""

import json
import os
import time

import pytest

from cli.command_runs import ALLOW, BOXES, CUTS, FAILS, draw_a_car, run, shapes


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
def test_nightly_run_with_nothing_to_do_succeeds_and_reports_it(
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


def test_refining_twice_succeeds_twice(server, make_task, client, function):
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


def test_label_missing_in_the_task_is_still_an_error(server, make_task, function):
    done = run(*server, "refine", make_task(1), *function(CUTS), "--label", "lorry")
    assert done.returncode == 2
    assert b"has no label 'lorry'" in done.stderr


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
def test_invalid_ranges_are_refused(words, frames, why, function):
    host = ["--server-host", "http://127.0.0.1:1", "--auth", "a:b"]
    done = run(*host, *words, *function(BOXES), "--frames", frames, timeout=60)
    assert done.returncode == 2, done.stderr
    assert why in " ".join(done.stderr.decode().split())


@pytest.mark.parametrize(
    "words",
    [["annotate"], ["annotate", "--dry-run"], ["track"], ["refine"], ["evaluate"], ["export"], ["preview"]],
    ids=" ".join,
)
def test_range_far_beyond_the_task_is_refused_with_little_memory(
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


def test_a_million_jobs_are_not_requested_one_by_one(server, make_task, function):
    done = run(*server, "annotate", make_task(1), *function(BOXES), "--jobs", "1-999999999", memory=6_000_000)
    assert done.returncode == 2, done.stderr
    assert b"1-999999999 has 999999999 jobs" in done.stderr
    assert b"Traceback" not in done.stderr


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
def test_overlong_word_is_refused_in_a_short_line(server, function, words, said):
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
def test_impossible_task_id_is_refused_without_a_request(number, why, function):
    host = ["--server-host", "http://127.0.0.1:1", "--auth", "a:b"]
    for words in (["annotate", number], ["preview", "--task", number]):
        done = run(*host, *words, *function(BOXES), timeout=60)
        assert done.returncode == 2
        assert why in done.stderr


def test_function_file_name_that_is_not_text(server, make_task, client, tmp_path):
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
