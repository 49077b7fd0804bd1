"""The subcommand `learn`, as a process of its own, and `--learned` of others."""

import json

import pytest

from command_line import run_command_text as run
from corrected_tasks import People

CARS = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Cars:
    score_threshold = 0.2
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0)])
    def detect(self, context, image):
        return [rectangle(0, [2, 2, 12, 22], score=0.9), rectangle(0, [22, 2, 32, 22], score=self.lowest)]

def create(lowest=0.4):
    function = Cars()
    function.lowest = lowest
    return function
"""


@pytest.fixture
def file(monkeypatch, tmp_path):
    monkeypatch.setenv("PREFECT_CVAT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PREFECT_CVAT_LEARNED_DIR", str(tmp_path / "learned"))
    path = tmp_path / "cars.py"
    path.write_text(CARS)
    return path


def test_learns_and_annotates_with_it(server, client, make_task, file, tmp_path):
    task_id = make_task(4)
    function = ("--function-file", file, "-p", "lowest=float:0.41")
    assert run(*server, "annotate", task_id, *function).returncode == 0
    people = People(client, task_id)
    for frame in range(3):
        people.delete(people.shapes(frame)[1])

    done = run(*server, "learn", task_id, "--looked-at", "3", "--to", tmp_path / "out", "--json")

    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["corrections"] == {"confirmed": 5, "deleted": 3}
    assert (tmp_path / "out" / "MODEL_CARD.md").is_file()
    done = run(*server, "annotate", task_id, *function, "--learned", "--dry-run")
    assert f"learned from 8 shapes on 4 corrected frames of task {task_id}" in done.stdout
    assert "it was another version" not in done.stdout


def test_without_corrections_it_fails_and_says_what_to_do(server, make_task, file):
    task_id = make_task(2)
    run(*server, "annotate", task_id, "--function-file", file)
    done = run(*server, "learn", task_id)
    assert done.returncode == 1
    assert "name frames that are right with --looked-at" in done.stderr


def test_format_without_a_folder_is_a_usage_error(server):
    done = run(*server, "learn", 1, "--format", "yolo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--format and --no-images go with --to" in done.stderr
