"""The block with a configured function, and its use in a flow."""

import pytest
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite

from flow_functions import counted_models, prompted_models
from prefect_cvat.auto_annotation import TaskLabel
from prefect_cvat.exceptions import FunctionLoadError
from prefect_cvat.flows.function_choice import choose_function
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.execution_options import ModelOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions


class TestPrefectsStandards(BlockStandardTestSuite):
    @pytest.fixture
    def block(self):
        return CvatFunction

    def test_has_a_valid_image(self, block):
        """It has none: Prefect takes only addresses, and where there is no internet it would show a broken image."""
        assert block._logo_url is None


def test_loads_its_function():
    function = CvatFunction(function="nanodet_detection", device="cpu").get_function()
    assert [label.name for label in function.spec.labels][:2] == ["person", "bicycle"]
    assert str(function.device) == "cpu"


def test_batch_size_is_passed_to_functions_that_take_one():
    chosen = CvatFunction(function="nanodet_detection", device="cpu", batch_size=3)
    assert chosen.get_function().batch_size == 3
    with pytest.raises(FunctionLoadError, match="'grabcut_interaction' takes no batch_size"):
        CvatFunction(function="grabcut_interaction", batch_size=3).get_function()


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("flow_functions.coloured_areas", {}),
        ("tiled", {"function": "str:flow_functions.coloured_areas"}),
        ("ensemble", {"a": "str:flow_functions.coloured_areas", "b": "str:nanodet_detection"}),
    ],
)
def test_prompts_are_those_of_the_function_within_another(monkeypatch, function, parameters):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    block = CvatFunction(function=function, function_parameters=parameters, prompts={"warm": None})
    made = block.get_function().make([TaskLabel("warm", "rectangle"), TaskLabel("red", "rectangle")])
    within = made.functions["a"] if function == "ensemble" else getattr(made, "function", made)
    assert [label.name for label in within.spec.labels] == ["red"]


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("nanodet_detection", {}),
        ("tiled", {"function": "str:nanodet_detection"}),
        ("ensemble", {"a": "str:nanodet_detection", "b": "str:nanodet_detection"}),
    ],
)
def test_prompts_are_refused_where_no_function_takes_them(function, parameters):
    block = CvatFunction(function=function, function_parameters=parameters, prompts={"warm": "a car"})
    with pytest.raises(FunctionLoadError, match=f"function '{function}' takes no prompts"):
        block.get_function()


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("flow_functions.counted_models", {}),
        ("flow_functions.with_key", {"api_key": "str:refused-0123456789"}),
        ("tiled", {"function": "str:flow_functions.counted_models"}),
        (
            "ensemble",
            {"functions": 'json:{"a": "flow_functions.counted_models", "b": "flow_functions.one_box"}'},
        ),
    ],
)
def test_prompts_are_refused_before_the_model_is_loaded(monkeypatch, function, parameters):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(counted_models, "made", 0)
    block = CvatFunction(function=function, function_parameters=parameters, prompts={"warm": "a car"})
    with pytest.raises(FunctionLoadError, match=f"function '{function}' takes no prompts"):
        block.get_function()
    assert counted_models.made == 0


def test_prompts_are_passed_to_a_factory_that_takes_prompts_and_no_labels(monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(prompted_models, "made", 0)
    block = CvatFunction(function="flow_functions.prompted_models", prompts={"warm": "a car"})
    waiting = block.get_function()
    made = waiting.make([TaskLabel("warm", "rectangle")])
    assert waiting.make(None, block.prompts).prompts == made.prompts == {"warm": "a car"}
    other = block.model_copy(update={"function_parameters": {"task_labels": "str:warm"}})
    with pytest.raises(FunctionLoadError, match="task_labels"):
        other.get_function()


@pytest.mark.parametrize(
    ("function", "parameters", "own"),
    [
        ("tiled", {"function": "str:flow_functions.prompted_models"}, "prompts"),
        (
            "ensemble",
            {"a": "str:flow_functions.prompted_models", "b": "str:flow_functions.one_box"},
            "a.prompts",
        ),
    ],
)
def test_prompts_for_a_function_within_another_that_takes_no_labels_are_its_own_parameter(
    monkeypatch, function, parameters, own
):
    monkeypatch.setenv("PREFECT_CVAT_FUNCTION_MODULES", "flow_functions")
    monkeypatch.setattr(prompted_models, "made", 0)
    block = CvatFunction(function=function, function_parameters=parameters, prompts={"warm": "a car"})
    expected = f"'{function}' cannot pass prompts on to 'flow_functions.prompted_models'.*task_labels"
    with pytest.raises(FunctionLoadError, match=expected):
        block.get_function()
    assert prompted_models.made == 0
    given = {**parameters, own: 'json:{"warm": "a car"}'}
    made = CvatFunction(function=function, function_parameters=given).get_function()
    within = made.functions["a"] if function == "ensemble" else made.function
    assert within.prompts == {"warm": "a car"}


def test_validates_parameters_at_creation():
    with pytest.raises(ValueError, match="type"):
        CvatFunction(function="tiled", function_parameters={"score_threshold": "0.3"})
    with pytest.raises(ValueError, match="between 0 and 1"):
        CvatFunction(function="tiled", conf_threshold=1.5)


def test_does_not_load_functions_that_are_not_allowed():
    with pytest.raises(FunctionLoadError, match="PREFECT_CVAT_FUNCTION_MODULES"):
        CvatFunction(function="os.path").get_function()


def test_function_block_replaces_other_parameters_except_device_and_batch_size():
    block = CvatFunction(function="torchvision_detection", conf_threshold=0.4)
    assert choose_function(block, "nanodet_detection", labels=LabelOptions(ignore_case=True)) is block
    on_a_device = choose_function(block, "nanodet_detection", execution=ModelOptions(device="cuda:1"))
    assert (on_a_device.function, on_a_device.device) == ("torchvision_detection", "cuda:1")
    assert on_a_device.conf_threshold == 0.4
    in_pairs = choose_function(block, "nanodet_detection", execution=ModelOptions(batch_size=2))
    assert (in_pairs.device, in_pairs.batch_size) == (None, 2)
    described = choose_function(None, "tiled", labels=LabelOptions(ignore_case=True, conf_threshold=0.5))
    assert (described.function, described.ignore_case, described.conf_threshold) == ("tiled", True, 0.5)


def test_fields_of_function_block_as_json_make_it_again_without_imports_of_collections(monkeypatch):
    block = CvatFunction(
        function="one_box", conf_threshold=0.25, label_map={"a": "b"}, prompts={"car": "auto"}
    )
    monkeypatch.setattr("prefect.blocks.core.load_prefect_collections", pytest.fail)
    assert CvatFunction.model_validate_json(block.as_json()) == block
