"""Parameters that a function of transformers does not take are refused before anything is downloaded."""

import pytest

from prefect_cvat.auto_annotation.loading import load_function
from prefect_cvat.exceptions import FunctionLoadError

pytest.importorskip("transformers")

FUNCTIONS = {
    "open_vocabulary_detection": {},
    "sam2_interaction": {},
    "sam2_tracking": {},
    "sam3_detection": {},
    "sam3_tracking": {},
    "sam3_word_tracking": {},
    "transformers_detection": {"model": "nobody/nothing"},
    "transformers_pose": {},
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_misspelt_parameter_is_named(function):
    with pytest.raises(
        FunctionLoadError, match=f"{function}' .* argument 'revison'; did you mean 'revision'"
    ):
        load_function(function, {**FUNCTIONS[function], "revison": "main"})


@pytest.mark.parametrize(
    ("function", "parameters", "message"),
    [
        ("open_vocabulary_detection", {"exemplars": "manual"}, "takes no exemplars"),
        ("sam3_word_tracking", {"batch_size": 4}, "takes no batch_size"),
        ("sam3_tracking", {"prompts": {"car": "a car"}}, "takes no prompts"),
        ("open_vocabulary_detection", {"iou_accross_labels": 1.0}, "did you mean 'iou_across_labels'"),
        ("open_vocabulary_detection", {"iuo": 0.5}, "unexpected keyword argument 'iuo'"),
        ("open_vocabulary_detection", {"trust_remote_code": True}, "unexpected .* 'trust_remote_code'"),
    ],
)
def test_option_that_the_function_does_not_take_is_named(function, parameters, message):
    with pytest.raises(FunctionLoadError, match=message):
        load_function(function, parameters)


def test_options_of_from_pretrained_are_taken():
    given = {"revision": "main", "dtype": "bfloat16", "local_files_only": True, "token": "hf_"}
    assert load_function("open_vocabulary_detection", given).takes_prompts


@pytest.mark.parametrize("function", FUNCTIONS)
def test_misspelt_parameter_is_named_in_python(function):
    import importlib

    from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel

    create = importlib.import_module(f"prefect_cvat.auto_annotation.functions.{function}").create
    labels = {"task_labels": [TaskLabel("car", "any")]} if "task_labels" in create.__annotations__ else {}
    with pytest.raises(FunctionLoadError, match="'revison' is neither .*; did you mean 'revision'"):
        create(**FUNCTIONS[function], **labels, revison="main")
