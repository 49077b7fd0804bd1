"""The output of commands: terminals that lack characters, streams that are full or closed."""

import json
import re
import subprocess

import pytest

from cli.command_runs import ALLOW, BOXES, command, run, shapes
from prefect_cvat.auto_annotation import label_spec


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "ascii:strict"])
def test_label_that_the_terminal_cannot_show_is_escaped_and_the_run_succeeds(
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


def test_text_of_a_function_is_escaped(function):
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


@pytest.mark.parametrize("output", ["--json > /dev/full", "> /dev/full", "--json (closed)", "(closed)"])
def test_unwritable_output_is_an_error_with_the_undo_command(
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
def test_listing_to_a_full_disk_is_an_error_without_a_traceback(words):
    done = subprocess.run(
        ["bash", "-c", '"$@" > /dev/full', "-", *command(*words)], capture_output=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == b"error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "--json >&-", "--json 2>&-"])
def test_run_without_standard_streams_succeeds(server, make_task, client, function, closed):
    task_id = make_task(1)
    printing = BOXES.replace("    return [", "    import os; os.write(2, b'x'); print('x')\n    return [")
    arguments = command(*server, "annotate", task_id, *function(printing), ALLOW)
    done = subprocess.run(["bash", "-c", f'"$@" {closed}', "-", *arguments], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(shapes(client, task_id)) == 1
    if closed == "--json 2>&-":
        assert json.loads(done.stdout)["labels"] == {"car": 1}
