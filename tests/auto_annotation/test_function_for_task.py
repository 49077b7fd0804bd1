"""Functions that are made for a task: when they are made, of what, and what is refused."""

import functools

import pytest

from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    TaskLabel,
    TaskLabelAttribute,
    label_spec,
    rectangle,
)
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask, make_function, wait_for_labels
from prefect_cvat.auto_annotation.functions import tiled
from prefect_cvat.auto_annotation.labels_for_factories import labels_of_task, parse_labels
from prefect_cvat.auto_annotation.loading import load_function_file, load_function_module
from prefect_cvat.exceptions import BadFunctionError, FunctionLoadError
from prefect_cvat.models import Label

CAR, BUS = TaskLabel("car", "any"), TaskLabel("bus", "polygon")
COLOURS = "flow_functions.coloured_areas"


class Finder:
    def __init__(self, task_labels, prompts=None, size=1):
        self.spec = DetectionFunctionSpec(
            labels=[label_spec(label.name, number) for number, label in enumerate(task_labels)]
        )
        self.prompts, self.size = prompts, size
        self.is_closed = False

    def detect(self, context, image):
        return [rectangle(0, [0, 0, 5, 5])]

    def close(self):
        self.is_closed = True


def create(*, task_labels, prompts=None, size=1):
    return Finder(task_labels, prompts, size)


def create_without_prompts(*, task_labels):
    return Finder(task_labels)


def names(function):
    return [label.name for label in function.spec.labels]


def test_it_is_made_once_for_the_same_labels_and_prompts():
    waiting = FunctionForTask(create, {"size": 3}, name="finder")
    made = waiting.make([CAR, BUS])
    assert (names(made), made.prompts, made.size) == (["car", "bus"], None, 3)
    assert waiting.make((CAR, BUS)) is made
    other = waiting.make([CAR, BUS], {"car": ["a", "b"], "bus": None})
    assert other is not made
    assert (made.is_closed, other.is_closed) == (True, False)
    assert waiting.make([CAR, BUS], {"bus": None, "car": ("a", "b")}) is other
    waiting.close()
    waiting.close()
    assert other.is_closed


def test_what_it_was_made_for_depends_on_labels_and_prompts():
    waiting = FunctionForTask(create, name="finder")
    described = set()
    coloured = TaskLabel("car", "any", (TaskLabelAttribute("colour", "select", ("red",), False, "red"),))
    for labels, prompts in [([CAR], None), ([BUS], None), ([coloured], None), ([CAR], {"car": "x"})]:
        waiting.make(labels, prompts)
        described.add(waiting.made_for)
    assert len(described) == 4


@pytest.mark.parametrize(
    "factory",
    [create, create_without_prompts, Finder, functools.partial(create, size=2)],
    ids=["function", "function without prompts", "class", "partial"],
)
def test_a_factory_waits_for_labels(factory):
    waiting = wait_for_labels(factory)
    assert isinstance(waiting, FunctionForTask)
    assert names(waiting.make([CAR])) == ["car"]


def test_other_functions_are_used_as_they_are():
    function = Finder([CAR])
    for other in (function, tiled, len, create_of_nothing := lambda: function):
        assert wait_for_labels(other) is other
    assert make_function(function, [BUS]) is function
    with pytest.raises(FunctionLoadError, match="function 'Finder' takes no prompts"):
        make_function(function, [BUS], {"bus": "x"})
    assert create_of_nothing() is function


def test_a_function_by_name_waits_for_labels():
    waiting = load_function_module(COLOURS)
    with pytest.raises(
        FunctionLoadError, match=r"is made for the labels of a task, and there is no task here; give"
    ):
        make_function(waiting)
    assert names(make_function(load_function_module(COLOURS, {"task_labels": ["red", "blue"]}))) == [
        "red",
        "blue",
    ]
    # labels that are given take the place of those of any task
    assert names(make_function(load_function_module(COLOURS, {"task_labels": ["red"]}), [CAR])) == ["red"]


def test_labels_that_are_optional_are_left_out_where_there_is_no_task():
    waiting = wait_for_labels(lambda *, task_labels=(BUS,): Finder(task_labels))
    assert names(waiting.make(None)) == ["bus"]
    assert names(waiting.make([CAR])) == ["car"]


def test_a_function_on_tiles_waits_for_labels_too():
    for waiting in (
        tiled.create(FunctionForTask(create, name="finder"), tile=20),
        tiled.create(create, tile=20),
    ):
        on_tiles = waiting.make([CAR], {"car": "a car"})
        assert (names(on_tiles), on_tiles.tile, on_tiles.function.prompts) == (["car"], 20, {"car": "a car"})
        waiting.close()
        assert on_tiles.function.is_closed


def test_the_sdk_needs_labels_as_a_parameter():
    pytest.importorskip("cvat_sdk")
    from prefect_cvat.for_cvat_sdk import create as for_cvat_sdk

    function = for_cvat_sdk(module=COLOURS, task_labels=["red", {"name": "blue", "type": "rectangle"}])
    assert names(function) == ["red", "blue"]
    with pytest.raises(Exception, match=r"task_labels=json:\[\"car\"\]") as caught:
        for_cvat_sdk(module=COLOURS)
    assert "function 'flow_functions.coloured_areas' is made for the labels of a task" in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"siz": 3}, "does not take these parameters: got an unexpected keyword argument 'siz'"),
        ({"task_labels": "car"}, "'car' is not a list of labels, such as"),
        ({"task_labels": {"car": 1}}, "is not a list of labels"),
        ({"task_labels": []}, "the task_labels of function 'finder': there are no labels"),
        ({"task_labels": ["car", "car"]}, "two labels are named 'car'"),
        ({"task_labels": [3]}, "3 is no label: neither a name nor an object with a name"),
        ({"task_labels": [{"nam": "car"}]}, "name: Field required"),
        ({"task_labels": [{"name": "car", "type": "box"}]}, "label 'car': 'box' is not a valid LabelType"),
        ({"task_labels": [{"name": "car", "attributes": [3]}]}, "label 'car':"),
        ({"task_labels": [{"name": "car", "attributes": [{"name": "x"}]}]}, "attributes.0.input_type: Field"),
    ],
)
def test_wrong_parameters_are_refused_before_there_is_a_task(parameters, message):
    with pytest.raises(FunctionLoadError) as caught:
        FunctionForTask(create, parameters, name="finder")
    assert message in str(caught.value)


def test_prompts_without_a_parameter_for_them_are_refused(tmp_path):
    said = (
        "takes no prompts: it is not made for the labels of a task by words, as open_vocabulary_detection is"
    )
    with pytest.raises(FunctionLoadError, match=said):
        FunctionForTask(create_without_prompts, name="finder").make([CAR], {"car": "a car"})
    file = tmp_path / "boxes.py"
    file.write_text("spec = 1")
    with pytest.raises(FunctionLoadError, match=said):
        load_function_file(file, {"prompts": {"car": "a car"}})
    file.write_text("def create(size=3): pass")
    with pytest.raises(FunctionLoadError, match=said):
        load_function_file(file, {"prompts": {"car": "a car"}})


def test_an_error_of_the_factory_names_its_line(tmp_path):
    file = tmp_path / "fails.py"
    file.write_text("def create(*, task_labels):\n    return task_labels[0].nothing")
    waiting = load_function_file(file)
    with pytest.raises(
        FunctionLoadError, match=r"cannot be made: AttributeError: .*fails.py, line 2, in create"
    ):
        waiting.make([CAR])


def test_labels_of_a_task_have_what_a_factory_needs():
    attribute = {"name": "colour", "input_type": "select", "values": ["red", "blue"], "mutable": True}
    given = {
        "name": "body",
        "type": "skeleton",
        "attributes": [{**attribute, "default_value": "red"}],
        "sublabels": [{"name": "head"}, {"name": "tail"}],
    }
    expected = TaskLabel(
        "body",
        "skeleton",
        (TaskLabelAttribute("colour", "select", ("red", "blue"), True, "red"),),
        ("head", "tail"),
    )
    of_server = Label.model_validate(
        {
            **given,
            "id": 7,
            "attributes": [{**each, "id": 8} for each in given["attributes"]],
            "sublabels": [{**each, "id": 9} for each in given["sublabels"]],
        }
    )
    assert labels_of_task([of_server]) == (expected,)
    assert parse_labels([given, "car", BUS]) == (expected, CAR, BUS)


def test_the_spec_of_what_is_not_made_is_an_error():
    with pytest.raises(FunctionLoadError, match="is made for the labels of a task"):
        _ = FunctionForTask(create, name="finder").spec
    with pytest.raises(BadFunctionError, match="same prompt"):
        load_function_module(COLOURS).make([TaskLabel("red", "any"), TaskLabel("Red", "any")])
