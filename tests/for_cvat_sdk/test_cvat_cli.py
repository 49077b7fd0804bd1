"""`cvat-cli task auto-annotate`, as users call it, with our functions."""

import inspect

import pytest
import skimage.data

from pictures import picture, png
from prefect_cvat.auto_annotation import functions, label_spec
from prefect_cvat.auto_annotation.loading import import_builtin
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.for_cvat_sdk import create

OURS = ("--function-module", "prefect_cvat.for_cvat_sdk")

SQUARES = """
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle


class Squares:
    def __init__(self, size, label, twice):
        self.spec = DetectionFunctionSpec(labels=[label_spec(label, 0)])
        self.points = [0, 0, size, size]
        self.count = 2 if twice else 1

    def detect_batch(self, contexts, images):
        return [[rectangle(0, self.points, score=0.5)] * self.count for _ in images]


def create(size: float, label: str = "square", twice: bool = False):
    return Squares(size, label, twice)
"""


@pytest.fixture
def task(client):
    task = client.create_task("a task", [label_spec("square", None), label_spec("cat", None)])
    client.upload_images(task.id, {"0.png": picture(), "1.png": picture(seed=1)})
    return task.id


@pytest.fixture
def annotate(cvat_cli):
    def annotate(task_id, *arguments, function=OURS):
        return cvat_cli("task", "auto-annotate", task_id, *function, *arguments)

    return annotate


def test_built_in_function(annotate, client):
    task = client.create_task("cats", [label_spec("cat", None), label_spec("dog", None)])
    client.upload_images(task.id, {"cat.png": png(skimage.data.chelsea())})
    done = annotate(task.id, "-p", "name=str:nanodet_detection", "--allow-unmatched-labels")
    assert done.returncode == 0, done.stderr
    [cat] = client.task_annotations(task.id).shapes
    assert (cat["type"], cat["source"]) == ("rectangle", "auto")
    assert 0.4 < cat["score"] < 1


def test_file_with_parameters(annotate, client, task, tmp_path):
    file = tmp_path / "squares.py"
    file.write_text(SQUARES)
    parameters = ("-p", f"file=str:{file}", "-p", "size=float:5.5", "-p", "twice=bool:yes")
    done = annotate(task, *parameters)
    assert done.returncode == 0, done.stderr
    found = client.task_annotations(task).shapes
    assert [(shape["frame"], shape["points"], shape["score"]) for shape in found] == [
        (frame, [0, 0, 5.5, 5.5], 0.5) for frame in (0, 0, 1, 1)
    ]


def test_own_file_that_calls_as_cvat_sdk(annotate, client, task, tmp_path):
    """For who wants `--function-file`, or a function with a parameter `name`."""
    file = tmp_path / "squares.py"
    file.write_text(
        SQUARES.replace(
            "return Squares(size, label, twice)", "return as_cvat_sdk(Squares(size, label, twice))"
        )
        + "\nfrom prefect_cvat.for_cvat_sdk import as_cvat_sdk\n"
    )
    done = annotate(task, "-p", "size=int:7", function=("--function-file", file))
    assert done.returncode == 0, done.stderr
    assert [shape["points"] for shape in client.task_annotations(task).shapes] == [[0, 0, 7, 7]] * 2


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ([], "choose one function: -p name=str:nanodet_detection"),
        (["-p", "name=str:tiled", "-p", "module=str:mine"], "name and module given"),
        (["-p", "name=str:nosuch"], "there is no function 'nosuch'; there are ensemble, grabcut_interaction"),
        (["-p", "name=str:tiled", "-p", "tiles=int:2"], "missing a required argument: 'function'"),
        (["-p", "file=str:nowhere.py"], "there is no file 'nowhere.py'"),
    ],
    ids=["none", "two", "unknown", "parameters", "no file"],
)
def test_wrong_choice_says_what_to_do(annotate, client, task, parameters, says):
    done = annotate(task, *parameters)
    assert done.returncode != 0
    assert says in done.stderr.splitlines()[-1]
    assert client.task_annotations(task).shapes == []


def test_labels_that_the_task_lacks_are_an_error_as_for_other_functions(annotate, client, task):
    done = annotate(task, "-p", "name=str:nanodet_detection")
    assert done.returncode != 0
    assert "label 'person' is not in dataset" in done.stderr
    assert client.task_annotations(task).shapes == []


def test_a_module_by_name():
    function = create(module="for_cvat_sdk.squares_module", size=3)
    assert [label.name for label in function.spec.labels] == ["square"]


def test_no_built_in_function_has_a_parameter_that_chooses_the_function():
    taken = {"name", "module", "file"}
    for name in functions.EXTRAS:
        try:
            module = import_builtin(name)
        except FunctionLoadError:
            continue
        assert not taken & inspect.signature(module.create).parameters.keys(), name
