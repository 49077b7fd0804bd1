"""The form of each flow: titles alike, and the functions to choose from."""

import importlib

import pytest

FLOWS = {
    "annotate_task": ("nanodet_detection", "sam3_word_tracking"),
    "annotate_project": ("torchvision_classification", "grabcut_interaction"),
    "annotate_shards": ("tiled", "sam2_tracking"),
    "track_task": ("sam3_word_tracking", "grabcut_interaction"),
    "refine_task": ("grabcut_interaction", "nanodet_detection"),
    "evaluate_task": ("nanodet_detection", "sam2_tracking"),
    "export_task": ("nanodet_detection", "grabcut_interaction"),
    "find_new_tasks": None,
    "learn_task": None,
    "undo_run": None,
}


def parameters_of(name):
    return getattr(importlib.import_module(f"prefect_cvat.flows.{name}"), name).parameters


@pytest.mark.parametrize("name", FLOWS)
def test_titles_are_alike(name):
    parameters = parameters_of(name)
    titles = {field: schema["title"] for field, schema in parameters.properties.items()}
    for model in parameters.definitions.values():
        if model.get("block_type_slug") is None:
            titles |= {
                field: schema.get("title", "Enum") for field, schema in model.get("properties", {}).items()
            }
    for field, title in titles.items():
        assert title[0].isupper(), field
        assert "_" not in title, field
        assert title[1:] == title[1:].lower() or "IoU" in title, field


@pytest.mark.parametrize("name", [name for name, examples in FLOWS.items() if examples])
def test_function_is_chosen_from_a_list_or_is_a_module(name):
    listed, not_listed = FLOWS[name]
    from_list, module = parameters_of(name).properties["function"]["anyOf"]
    assert listed in from_list["enum"]
    assert not_listed not in from_list["enum"]
    assert module == {"type": "string", "title": "Module"}


ORDER = [
    *("task_id", "credentials", "function", "function_parameters", "function_block"),
    *("labels", "existing_annotations", "frames", "review", "annotations", "execution"),
]
"""What most runs need comes first."""


@pytest.mark.parametrize("name", FLOWS)
def test_fields_come_in_the_same_order_in_all_forms(name):
    properties = parameters_of(name).properties
    by_position = sorted(properties, key=lambda field: properties[field]["position"])
    common = [field for field in by_position if field in ORDER]
    assert common == [field for field in ORDER if field in properties]
