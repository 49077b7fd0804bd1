"""Where no library of an extra is installed, or OpenCV cannot be loaded."""

import json

import pytest

from cli.command_runs import ALLOW, BOXES, CUTS
from prefect_cvat.auto_annotation.functions import EXTRAS
from prefect_cvat.cli.app import COMMANDS
from without_libraries import NO_LIBGL, NOT_INSTALLED, run_without

IMPORTS_ALL = """
import importlib, pkgutil

for name in ("prefect_cvat", *(f"prefect_cvat.{each}" for each in ("flows", "tasks", "deployments"))):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if "auto_annotation.functions." not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
from prefect_cvat import annotate_task, evaluate_task, export_task, refine_task, track_task, undo_run
from prefect_cvat.tasks.wait_for_device import local_devices
print("devices", local_devices())
"""


def run(*arguments, **environment):
    return run_without(NOT_INSTALLED, *arguments, **environment)


def test_everything_but_functions_can_be_imported(tmp_path):
    done = run_without(NOT_INSTALLED, code=IMPORTS_ALL, PREFECT_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split("\n")
    for name in (
        "flows.annotate_task",
        "flows.track_task",
        "tasks.wait_for_device",
        "deployments.webhooks.app",
    ):
        assert f"prefect_cvat.{name}" in lines or name.endswith("app")
    assert "devices []" in lines


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help(command):
    done = run(*filter(None, [command]), "--help")
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout


@pytest.mark.parametrize("arguments", [["functions"], ["functions", "list"]])
def test_built_in_functions_are_listed_with_what_they_need(arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines == [
        [name] if extra is None else [name, f"prefect-cvat[{extra}] (not installed)"]
        for name, extra in EXTRAS.items()
    ]


@pytest.mark.parametrize("name", [name for name, extra in EXTRAS.items() if extra])
def test_a_built_in_function_names_its_extra(name):
    parameters = ["-p", "model=str:model.onnx"] if name == "onnx_detection" else []
    done = run("functions", "show", name, *parameters)
    assert done.returncode == 1
    assert f'pip install "prefect-cvat[{EXTRAS[name]}]"' in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_built_in_function_that_is_imported_names_its_extra():
    code = "from prefect_cvat.auto_annotation.functions import torchvision_detection"
    done = run_without(NOT_INSTALLED, code=code)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "function 'torchvision_detection' needs the library torch, which is missing; install it:"
        ' pip install "prefect-cvat[pytorch]"'
    )


def test_a_function_file_that_imports_torch_names_the_extra(server, make_task, function):
    done = run(*server, "annotate", make_task(1), *function("import torch\n" + BOXES))
    assert done.returncode == 1
    assert 'install it: pip install "prefect-cvat[pytorch]"' in done.stderr


def test_a_function_of_ones_own_annotates_exports_and_is_evaluated(
    server, make_task, client, function, tmp_path
):
    task_id = make_task(4)
    done = run(*server, "annotate", task_id, *function(BOXES), ALLOW, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == {"car": 4}
    [job] = client.jobs(task_id)
    assert len(client.job_annotations(job.id).shapes) == 4

    shape = {"type": "rectangle", "points": [0, 0, 9, 9], "label_id": client.labels(task_id)[0].id}
    client.create_job_annotations(job.id, {"shapes": [{**shape, "frame": 0, "source": "manual"}]})
    for arguments in (
        ["evaluate", task_id, *function(BOXES), ALLOW, "--page", tmp_path / "page.html"],
        ["export", task_id, "--to", tmp_path / "coco", "--format", "coco"],
        ["preview", "--task", task_id, *function(BOXES), "-o", tmp_path / "preview.html"],
    ):
        done = run(*server, *arguments)
        assert done.returncode == 0, done.stderr
    done = run(*server, "refine", task_id, *function(CUTS), "--to", "polygon", "--source", "auto")
    assert done.returncode == 0, done.stderr
    assert {each.name for each in tmp_path.iterdir()} >= {"page.html", "coco", "preview.html"}
    shapes = client.job_annotations(job.id).shapes
    assert sorted(each["type"] for each in shapes) == [*["polygon"] * 4, "rectangle"]

    tiled = ["--function", "tiled", "-p", "function=str:nanodet_detection"]
    done = run(*server, "annotate", task_id, *tiled, ALLOW)
    assert done.returncode == 1
    assert 'pip install "prefect-cvat[pytorch]"' in done.stderr


def test_the_demo_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("demo")
    assert done.returncode == 1
    assert (
        "the demo needs torch (No module named 'torch'); install it:"
        ' pip install "prefect-cvat[pytorch,video]"'
    ) in done.stderr


def test_tracks_and_videos_name_the_extra(server, make_task, function, tmp_path):
    done = run(*server, "track", make_task(2), *function(BOXES), ALLOW)
    assert done.returncode == 1
    assert "tracks need trackers" in done.stderr
    assert 'pip install "prefect-cvat[video]"' in done.stderr


def test_where_libgl_is_missing_tracks_and_masks_say_what_to_install(server, make_task, function):
    task_id = make_task(2)
    for arguments in (
        ["track", task_id, *function(BOXES), ALLOW],
        ["track", task_id, "--function", "optical_flow_tracking"],
        ["refine", task_id, "--function", "grabcut_interaction"],
    ):
        done = run_without(NO_LIBGL, *server, *arguments)
        assert done.returncode == 1
        assert "apt-get install libgl1 libglib2.0-0" in done.stderr
        assert "opencv-python-headless" in done.stderr
        assert "prefect-cvat[video]" not in done.stderr
