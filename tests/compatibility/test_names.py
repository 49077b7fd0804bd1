"""Every public name of the SDK's auto_annotation exists here, with the same signature."""

import importlib
import inspect
from types import ModuleType
from typing import Any

import attrs
import pytest

from compatibility.libraries import OURS, SDK, Library, in_both


def public(module: ModuleType) -> list[str]:
    """The names that a module defines or exports."""
    return getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def names() -> list[tuple[str, str]]:
    modules = ("auto_annotation", "masks", "attributes", "auto_annotation.exceptions")
    return [(name, item) for name in modules for item in public(importlib.import_module(f"cvat_sdk.{name}"))]


def test_compared_names_contain_those_of_the_sdk():
    found = names()
    assert len(found) >= 40
    assert {("masks", "decode_mask"), ("attributes", "number_attribute_values")} < set(found)
    assert {("auto_annotation", "annotate_task"), ("auto_annotation.exceptions", "BadFunctionError")} < set(
        found
    )


@pytest.mark.parametrize(("module", "name"), names(), ids=lambda value: value)
def test_name_exists_with_the_same_signature(module, name):
    theirs = getattr(importlib.import_module(f"cvat_sdk.{module}"), name)
    ours = getattr(importlib.import_module(f"prefect_cvat.{module}"), name)
    assert inspect.isclass(theirs) == inspect.isclass(ours)
    if inspect.isfunction(theirs):
        assert_called_the_same(theirs, ours)
    elif inspect.isclass(theirs) and not issubclass(theirs, Exception):
        if attrs.has(theirs):
            assert_called_the_same(theirs, ours)
            return
        for member in own_members(theirs):
            assert hasattr(ours, member), f"{name} lacks {member}"
            method = inspect.getattr_static(theirs, member)
            if inspect.isfunction(method):
                assert_called_the_same(method, getattr(ours, member))
            elif isinstance(method, property):
                assert isinstance(inspect.getattr_static(ours, member), property)
        assert inspect.isabstract(theirs) == inspect.isabstract(ours)
        assert getattr(theirs, "_is_protocol", False) == getattr(ours, "_is_protocol", False)


def own_members(cls: type) -> list[str]:
    return [name for name in vars(cls) if not name.startswith("_")]


def assert_called_the_same(theirs: Any, ours: Any) -> None:
    expected = inspect.signature(theirs).parameters
    actual = inspect.signature(ours).parameters
    assert list(actual)[: len(expected)] == list(expected), "parameters differ in name or order"
    for name, parameter in expected.items():
        assert actual[name].kind == parameter.kind, name
        assert has_default(actual[name]) == has_default(parameter), name
        if has_default(parameter) and parameter.default is not attrs.NOTHING:  # that is: made by a factory
            assert actual[name].default == parameter.default, name
    for name in list(actual)[len(expected) :]:
        assert actual[name].kind == inspect.Parameter.KEYWORD_ONLY, f"{name} may be given by place"
        assert has_default(actual[name]), f"{name} must be given"


def has_default(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


BUILTINS = [
    *("torchvision_classification", "torchvision_detection"),
    *("torchvision_instance_segmentation", "torchvision_keypoint_detection"),
]


@pytest.mark.parametrize("name", BUILTINS)
def test_builtin_functions_have_the_parameters_of_the_sdk(name):
    theirs = importlib.import_module(f"cvat_sdk.auto_annotation.functions.{name}").create
    ours = importlib.import_module(f"prefect_cvat.auto_annotation.functions.{name}").create
    expected = list(inspect.signature(theirs).parameters.values())
    assert [parameter.name for parameter in expected] == ["model_name", "weights_name", "kwargs"]
    actual = inspect.signature(ours).parameters
    assert list(actual)[:2] == ["model_name", "weights_name"]
    assert actual["weights_name"].default == expected[1].default
    assert next(reversed(actual.values())).kind == inspect.Parameter.VAR_KEYWORD


# --- models ---

NOT_FOR_FUNCTIONS = {"deleted"}
"""What only changes labels that exist already."""

MODELS = [
    *("LabeledShapeRequest", "LabeledImageRequest", "SubLabeledShapeRequest", "AttributeValRequest"),
    *("PatchedLabelRequest", "SublabelRequest", "AttributeRequest"),
]


@pytest.mark.parametrize("name", MODELS)
def test_models_have_the_fields_of_the_sdks(name):
    theirs = getattr(SDK.models, name).attribute_map.keys() - NOT_FOR_FUNCTIONS
    ours = getattr(OURS.models, name).model_fields.keys()
    assert len(theirs) >= 2
    assert theirs <= ours
    # a field that the SDK lacks would make functions that only run here
    assert ours <= theirs


@pytest.mark.parametrize("name", ["ShapeType", "LabelType", "InputTypeEnum"])
def test_enums_have_the_values_of_the_sdks(name):
    [theirs] = getattr(SDK.models, name).allowed_values.values()
    ours = getattr(OURS.models, name)
    assert {member.name: member.value for member in ours} == theirs
    for value in theirs.values():
        assert ours(value).value == getattr(SDK.models, name)(value).value == value


def examples(models: ModuleType) -> dict[str, Any]:
    """Each model as functions create it: with keywords, and required arguments of the SDK by position too."""
    attribute = models.AttributeRequest("side", True, models.InputTypeEnum("select"), ["l", "r"], id=4)
    keypoint = models.SubLabeledShapeRequest(
        models.ShapeType("points"), 3, 0, points=[1.0, 2.0], occluded=True, outside=False
    )
    return {
        "AttributeValRequest": models.AttributeValRequest(7, "red"),
        "AttributeRequest": attribute,
        "AttributeRequest by names": models.AttributeRequest(
            name="n", mutable=False, input_type="number", values=["0", "9", "1"], default_value="3", id=1
        ),
        "SublabelRequest": models.SublabelRequest("head", id=3, type="points", color="#ff0000"),
        "PatchedLabelRequest": models.PatchedLabelRequest(
            name="body",
            id=2,
            type="skeleton",
            color="#00ff00",
            svg="<svg/>",
            attributes=[attribute],
            sublabels=[models.SublabelRequest(name="head", id=3, type="points", attributes=[])],
        ),
        "LabeledImageRequest": models.LabeledImageRequest(
            5, 0, group=2, attributes=[models.AttributeValRequest(spec_id=4, value="l")]
        ),
        "SubLabeledShapeRequest": keypoint,
        "LabeledShapeRequest": models.LabeledShapeRequest(
            models.ShapeType("rectangle"),
            2,
            0,
            points=[1.0, 2.0, 3.0, 4.0],
            rotation=5.5,
            z_order=1,
            score=0.5,
        ),
        "LabeledShapeRequest by names": models.LabeledShapeRequest(
            type="skeleton", frame=0, label_id=2, elements=[keypoint], occluded=False, group=0
        ),
    }


@pytest.mark.parametrize("name", examples(SDK.models))
def test_models_have_the_fields_of_the_sdk(name):
    theirs = examples(SDK.models)[name].to_dict()
    ours = examples(OURS.models)[name].model_dump(mode="json")
    assert theirs
    assert {key: _reduced(ours[key], value) for key, value in theirs.items()} == theirs


def _reduced(ours: Any, theirs: Any) -> Any:
    """Of our objects only the fields that the SDK's have set."""
    if isinstance(theirs, list):
        return [_reduced(a, b) for a, b in zip(ours, theirs, strict=True)]
    if isinstance(theirs, dict):
        return {key: _reduced(ours[key], value) for key, value in theirs.items()}
    return ours


WRONG_CALLS = {
    "missing": lambda models: models.AttributeValRequest(spec_id=1),
    "too many": lambda models: models.AttributeValRequest(1, "a", "b"),
    "not by place": lambda models: models.PatchedLabelRequest("car"),
    "twice": lambda models: models.AttributeValRequest(1, "a", value="b"),
    "type": lambda models: models.LabeledShapeRequest(type="circle", frame=0, label_id=1),
    "kind": lambda models: models.AttributeValRequest(spec_id="x", value="a"),
    "not a string": lambda models: models.AttributeValRequest(spec_id=1, value=[3]),
    "assigned": lambda models: setattr(models.AttributeValRequest(1, "a"), "value", [3]),
}


@in_both
@pytest.mark.parametrize("call", WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_models_refuse_the_same_arguments(lib: Library, call):
    with pytest.raises((TypeError, ValueError)):
        call(lib.models)


def test_only_our_models_refuse_unknown_fields():
    SDK.cvataa.rectangle(1, [1, 2, 3, 4], colour="red")
    with pytest.raises(ValueError, match="colour"):
        OURS.cvataa.rectangle(1, [1, 2, 3, 4], colour="red")


@in_both
def test_models_are_mutable(lib: Library):
    shape = lib.cvataa.rectangle(1, [1.0, 2.0, 3.0, 4.0])
    shape.points = [5.0, 6.0, 7.0, 8.0]
    shape.label_id = 2
    shape.type = lib.models.ShapeType("polygon")
    shape.attributes = [lib.models.AttributeValRequest(1, "a")]
    shape.attributes.append(lib.models.AttributeValRequest(2, "b"))
    assert (shape.label_id, shape.points, shape.type.value) == (2, [5, 6, 7, 8], "polygon")
    assert [value.spec_id for value in shape.attributes] == [1, 2]


def test_our_models_accept_objects_of_the_sdk():
    models = SDK.models
    shape = OURS.cvataa.skeleton(
        1,
        [SDK.cvataa.keypoint(3, [1, 2], attributes=[models.AttributeValRequest(4, "l")])],
        attributes=[models.AttributeValRequest(5, "red")],
    )
    assert shape == OURS.cvataa.skeleton(
        1,
        [OURS.cvataa.keypoint(3, [1, 2], attributes=[OURS.models.AttributeValRequest(4, "l")])],
        attributes=[OURS.models.AttributeValRequest(5, "red")],
    )
    label = OURS.cvataa.skeleton_label_spec("body", 1, [SDK.cvataa.keypoint_spec("head", 3)])
    assert label == OURS.cvataa.skeleton_label_spec("body", 1, [OURS.cvataa.keypoint_spec("head", 3)])
