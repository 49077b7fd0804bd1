"""The subcommand `functions`, the version, and examples in the help."""

import re

import pytest

from command_line import run_command_text as run


def test_lists_functions_and_prints_the_version():
    assert "nanodet_detection" in run("functions", "list").stdout.split()
    assert run("--version").stdout.startswith("prefect-cvat ")


@pytest.mark.parametrize("where", ["before", "after", "at the end"])
def test_debug_is_accepted_before_and_after_the_subcommand(where):
    arguments = {
        "before": ["--debug", "functions", "show", "nosuch"],
        "after": ["functions", "--debug", "show", "nosuch"],
        "at the end": ["functions", "show", "nosuch", "--debug"],
    }
    done = run(*arguments[where])
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "there is no function 'nosuch'" in done.stderr
    assert "Traceback" not in run("functions", "show", "nosuch").stderr


def test_shows_the_labels_of_a_function():
    lines = run("functions", "show", "nanodet_detection").stdout.splitlines()
    assert lines[0].split() == ["0", "person", "(rectangle)"]
    assert len(lines) == 80


def test_shows_prompts_and_tracked_shape_types_of_a_function(tmp_path):
    pytest.importorskip("cv2", reason="OpenCV, the extra `video`, is not installed")
    assert run("functions", "show", "grabcut_interaction").stdout.splitlines() == [
        "points on the object: taken",
        "points that are not on it: taken",
        "box around it: taken",
    ]
    done = run("functions", "show", "optical_flow_tracking")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("follows shapes of type ")
    assert "rectangle" in done.stdout


@pytest.mark.parametrize("command", ["annotate", "track", "refine", "preview", "setup", "sandbox", "demo"])
def test_help_shows_the_example_on_separate_lines(command):
    done = run(command, "--help")
    assert re.search(r"^  Example:$", done.stdout, re.MULTILINE)
    assert r"\b" not in done.stdout
