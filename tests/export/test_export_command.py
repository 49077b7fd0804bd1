"""The command `export`."""

import json

from click.testing import CliRunner

from command_line import run_code, run_command_text
from export.exported import box, draw, files_in, labels_of, read_by_supervision
from prefect_cvat.cli.app import app

FUNCTION = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

class Boxes:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1), label_spec("person", 2)])
    def detect(self, context, image):
        return [rectangle(1, [0, 0, 20, 20], score=0.8), rectangle(2, [30, 0, 50, 20], score=0.3)]

create = Boxes
"""


def run(sandbox, *arguments, code=None):
    words = [
        "--server-host",
        sandbox.url,
        "--auth",
        f"{sandbox.user}:{sandbox.password}",
        "export",
        *arguments,
    ]
    return run_command_text(*words) if code is None else run_code(code, *words)


def test_command_prints_the_report(sandbox, make_task, tmp_path):
    (tmp_path / "boxes.py").write_text(FUNCTION)
    task_id = make_task(3)
    done = run(
        sandbox,
        *(task_id, "--function-file", tmp_path / "boxes.py", "--conf-threshold", "0.5", "--frames", "0-1"),
        *("--format", "yolo", "--to", tmp_path / "set", "--report", tmp_path / "report.json"),
    )
    assert done.returncode == 0, done.stderr
    assert f"written as yolo to {tmp_path / 'set'}" in done.stdout
    assert "left out: shapes below the score threshold (2)" in done.stdout
    assert len(read_by_supervision(tmp_path / "set")) == 2
    assert json.loads((tmp_path / "report.json").read_text())["labels"] == {"car": 2}


def test_command_refuses_conflicting_options(tmp_path):
    cases = [
        (["--function", "nanodet_detection", "--left-by-run"], "give a function or --left-by-run"),
        (["--conf-threshold", "0.5"], "go with a function; name one"),
    ]
    for arguments, message in cases:
        done = CliRunner().invoke(app, ["export", "1", "--to", str(tmp_path / "set"), *arguments])
        assert done.exit_code == 2
        assert message in " ".join(done.output.split())


SMALL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from prefect_cvat.cli.main import main
main()
"""


def test_command_fails_with_one_line_when_the_disk_is_full(sandbox, client, make_task, tmp_path):
    task_id = make_task(1)
    car = labels_of(client, task_id)["car"]
    draw(client, task_id, [box(0, car, (i / 10, 0, 50, 40)) for i in range(200)])
    done = run(sandbox, task_id, "--no-images", "--to", tmp_path / "set", code=SMALL_DISK)
    assert done.returncode == 1, done.stderr
    assert "error: the dataset cannot be written to" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_command_refuses_to_overwrite(sandbox, make_task, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("work")
    done = run(sandbox, make_task(1), "--to", tmp_path / "full")
    assert done.returncode == 2
    assert "is not empty; nothing is overwritten" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(tmp_path) == ["full/precious"]
