"""`evaluate --against`, as a process of its own."""

import json

import pytest

from command_line import run_command_text

FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])

    def __init__(self, shift=0.0, label="car"):
        self.spec = DetectionFunctionSpec(labels=[label_spec(label, 1)])
        self.shift = shift

    def detect(self, context, image):
        return [rectangle(1, [self.shift, 0, self.shift + 20, 20], score=0.8)]

def create(shift=0.0, label="car"):
    return Boxes(shift, label)
"""


@pytest.fixture
def server(sandbox):
    return ["--server-host", sandbox.url, "--auth", f"{sandbox.user}:{sandbox.password}"]


@pytest.fixture
def function(tmp_path):
    path = tmp_path / "boxes.py"
    path.write_text(FUNCTION)
    return path


@pytest.fixture
def drawn_task(client, make_task):
    """A task of six frames with a car on each."""
    task_id = make_task(6)
    car = next(label.id for label in client.labels(task_id) if label.name == "car")
    box = {"type": "rectangle", "label_id": car, "points": [0, 0, 20, 20], "source": "manual"}
    [job] = client.jobs(task_id)
    shapes = [box | {"frame": number} for number in range(6)]
    client.create_job_annotations(job.id, {"shapes": shapes, "tags": [], "tracks": []})
    return task_id


def test_compares_with_another_function_and_writes_a_page(server, function, drawn_task, tmp_path):
    page = tmp_path / "page.html"
    done = run_command_text(
        *server, "evaluate", drawn_task, "--function-file", function, "--against", function,
        "--against-parameters", '{"shift": "float:8", "label": "str:vehicle"}',
        "--against-label-map", '{"vehicle": "car"}', "--page", page, "--resamples", "50",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:4] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows["AP50"] == ["1.000", "0.000", "+1.000"]
    assert f"{function} (first) against {function} (second)" in done.stdout
    assert "50 resamples of the frames, seed 0" in done.stdout
    assert "Boxes: frames that differ most" in page.read_text()


def test_prints_the_comparison_with_stored_annotations_as_json(server, function, drawn_task):
    shifted = ["--function-file", function, "-p", "shift=float:8"]
    assert run_command_text(*server, "annotate", drawn_task, *shifted).returncode == 0
    options = ["--function-file", function, "--against", "automatic", "--json", "--seed", "3"]
    done = run_command_text(*server, "evaluate", drawn_task, *options)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    boxes = said["shapes"]["bbox"]
    assert boxes["overall"]["metrics"]["ap"] == {
        "first": 1, "second": 0, "difference": 1, "low": 1, "high": 1
    }  # fmt: skip
    assert (boxes["seed"], boxes["resamples"]) == (3, 1000)
    assert said["second"]["predictions"] == "automatic annotations"
    assert said["second"]["shapes"]["bbox"]["mistakes"]["kinds"]["localization"]["count"] == 6
    assert said["first"]["shapes"]["bbox"]["by_size"]["small"] == {"truth": 6, "ap": 1}
    assert [frame["frame"] for frame in boxes["frames"]] == [0, 1, 2, 3, 4, 5]


def test_compares_with_an_earlier_run_that_was_exported(server, function, drawn_task, tmp_path):
    shifted = ["--function-file", function, "-p", "shift=float:8"]
    before = tmp_path / "before"
    exported = run_command_text(*server, "export", drawn_task, "--to", before, *shifted, "--no-images")
    assert exported.returncode == 0, exported.stderr
    [file] = before.rglob("*.json")
    assert run_command_text(*server, "annotate", drawn_task, "--function-file", function).returncode == 0
    done = run_command_text(*server, "evaluate", drawn_task, "--left-by-run", "--against", file)
    assert done.returncode == 0, done.stderr
    assert "AP         1.000   0.000      +1.000" in done.stdout


def test_bad_choices_are_one_line_errors(server, function, drawn_task, tmp_path):
    own = ["--function-file", function]
    cases = [
        (["--left-by-run", "--against", "automatic"], 2, "would be compared with themselves"),
        ([*own, "--against", "task:"], 2, "write task:ID, such as task:42"),
        ([*own, "--against", "automatic", "--against-label-map", '{"a": "b"}'], 2, "are for a function"),
        ([*own, "--against", "automatic"], 1, "has no automatic annotations"),
        ([*own, "--against", tmp_path / "none.json"], 2, "cannot be read as JSON"),
        ([*own, "--against", "no_such_function"], 1, "no_such_function"),
        ([*own, "--against", function, "--against-parameters", '{"shift": "8"}'], 2, "shift=8"),
        ([*own, "--resamples", "0"], 2, "resamples"),
    ]
    for arguments, code, message in cases:
        done = run_command_text(*server, "evaluate", drawn_task, *arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert message in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
