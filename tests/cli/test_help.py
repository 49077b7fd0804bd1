"""The help of the command line: its content, its duration and its imports."""

import json
import os
import signal
import subprocess
import sys

import pytest

from polling import until
from prefect_cvat.cli.app import COMMANDS, app


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COLUMNS": "100"},
        **options,
    )


def test_help_shows_the_options_of_annotate_in_groups():
    done = run("-m", "prefect_cvat", "annotate", "--help")
    assert done.returncode == 0, done.stderr
    headings = [line[:-1] for line in done.stdout.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings == [
        "Tasks",
        "Function",
        "Labels",
        "Annotations that are written",
        "Existing annotations",
        "Frames",
        "Execution",
        "Review",
        "Options",
    ]
    of_frames = done.stdout.partition("\nFrames:")[2].partition("\nExecution:")[0]
    assert [word for word in of_frames.split() if word.startswith("--")] == [
        "--frames",
        "--jobs",
        "--quality",
    ]


def test_help_imports_no_library_that_is_slow_to_import():
    done = run("-X", "importtime", "-m", "prefect_cvat", "--help")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "click" in imported
    assert not imported & {"numpy", "PIL", "prefect", "pydantic", "requests", "rich", "torch"}
    done = run("-X", "importtime", "-m", "prefect_cvat", "annotate", "--help")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not imported & {"numpy", "PIL", "prefect", "requests", "torch"}


@pytest.mark.parametrize("name", COMMANDS)
def test_list_of_commands_has_the_summaries_of_the_commands(name):
    summary = " ".join(app.get_command(None, name).help.partition("\n\n")[0].split())
    assert summary.startswith(COMMANDS[name].removesuffix("."))


def test_ctrl_c_while_modules_are_imported_shows_no_traceback(tmp_path):
    slow = tmp_path / "click.py"  # in the place of the first library that is imported
    started = tmp_path / "started"
    slow.write_text(f"open({str(started)!r}, 'w').close()\nimport time\ntime.sleep(30)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect_cvat", "annotate", "1"],
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    try:
        until(started.exists, seconds=60)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 130
    assert err == b"interrupted; run it again to complete it\n"


FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

def detect(context, image):
    return [rectangle(1, [0, 0, 9, 9], score=0.5)]
"""


@pytest.fixture
def annotate(sandbox, make_task, tmp_path):
    """The words of a run on a task of two frames."""
    (tmp_path / "function.py").write_text(FUNCTION)
    server = ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]
    task_id = str(make_task(2))
    return [
        "-m",
        "prefect_cvat",
        *server,
        "annotate",
        task_id,
        "--function-file",
        str(tmp_path / "function.py"),
    ]


def test_undo_command_is_on_stderr_when_stdout_is_closed(annotate):
    process = subprocess.Popen([sys.executable, *annotate], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    err = process.stderr.read().decode()
    assert process.wait(timeout=60) == 1
    process.stderr.close()
    assert err.splitlines()[-1].startswith("to undo it: prefect-cvat --server-host ")
    assert "Traceback" not in err


def test_a_dry_run_writes_its_report(annotate, tmp_path):
    report = tmp_path / "report.json"
    done = run(*annotate, "--dry-run", "--json", "--report", str(report))
    assert done.returncode == 0, done.stderr
    assert json.loads(report.read_text()) == json.loads(done.stdout)
    assert json.loads(report.read_text())["frames"] == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--clear-existing", "--existing", "keep"], "--clear-existing contradicts --existing"),
        (["--conf-threshold", "1.5"], "'--conf-threshold': 1.5 is not in the range 0<=x<=1"),
        (["--jobs", "0"], "--jobs: must be 1 or more, not 0"),
        (["--label-map", '{"car": {"nme": "x"}}'], "--label-map: 'nme' of 'car': Extra inputs"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_invalid_option_values_are_refused(annotate, more, message):
    done = run(*annotate, *more)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_server_options_after_the_command_are_refused_with_their_position():
    done = run("-m", "prefect_cvat", "annotate", "1", "--auth", "anna:secret")
    assert done.returncode == 2
    assert "--auth comes before the command: prefect-cvat --auth ... annotate ..." in done.stderr
    assert "secret" not in done.stderr
