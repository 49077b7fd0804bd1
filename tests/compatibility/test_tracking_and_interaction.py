"""The built-in tracking and interaction functions are valid functions for the SDK."""

import importlib
import inspect

import cvat_sdk.auto_annotation as sdk
import numpy as np
import PIL.Image
import pytest
import skimage.data

PROTOCOLS = {
    ("optical_flow_tracking", "OpticalFlowFunction"): sdk.TrackingFunction,
    ("sam2_tracking", "Sam2TrackingFunction"): sdk.TrackingFunction,
    ("sam3_tracking", "Sam3TrackingFunction"): sdk.TrackingFunction,
    ("grabcut_interaction", "GrabCutFunction"): sdk.InteractionFunction,
    ("sam2_interaction", "Sam2InteractionFunction"): sdk.InteractionFunction,
}


@pytest.mark.parametrize(("name", "protocol"), PROTOCOLS.items(), ids=lambda value: str(value))
def test_methods_are_called_as_the_sdk_calls_them(name, protocol):
    module, class_name = name
    ours = getattr(importlib.import_module(f"prefect_cvat.auto_annotation.functions.{module}"), class_name)
    methods = [method for method in vars(protocol) if not method.startswith("_") and method != "spec"]
    assert len(methods) >= 2
    for method in methods:
        expected = inspect.signature(getattr(protocol, method)).parameters
        assert list(inspect.signature(getattr(ours, method)).parameters) == list(expected)


class SdkShapeContext(sdk.TrackingFunctionShapeContext):
    original_shape_type = "rectangle"


class SdkContext(sdk.InteractionFunctionContext):
    pass


class SdkPrompts(sdk.InteractionPrompts):
    pos_points = ()
    neg_points = ()
    bounding_box = ((150, 30), (300, 250))


def test_optical_flow_accepts_arguments_of_the_sdk():
    pytest.importorskip("cv2")
    from prefect_cvat.auto_annotation.functions import optical_flow_tracking

    function = optical_flow_tracking.create()
    sdk.TrackingFunctionSpec(supported_shape_types=function.spec.supported_shape_types)
    context = SdkShapeContext()
    image = PIL.Image.fromarray(skimage.data.astronaut())
    moved = PIL.Image.fromarray(np.roll(skimage.data.astronaut(), 5, axis=1))
    shape = sdk.TrackableShape(type="rectangle", points=[150, 30, 300, 250])
    state = function.init_tracking_state(context, function.preprocess_image(context, image), shape)
    found = function.track(context, function.preprocess_image(context, moved), state)
    assert sdk.TrackableShape(type=found.type, points=found.points).type == "rectangle"
    assert found.points == pytest.approx([155, 30, 305, 250], abs=2)


def test_grabcut_accepts_arguments_of_the_sdk():
    pytest.importorskip("cv2")
    from prefect_cvat.auto_annotation.functions import grabcut_interaction

    function = grabcut_interaction.create()
    image = PIL.Image.fromarray(skimage.data.astronaut())
    pp_image = function.preprocess_image(SdkContext(), image)
    [found] = function.detect(SdkContext(), pp_image, SdkPrompts())
    assert found.type == "mask"
    assert sdk.InteractionResultShape(type=found.type, points=found.points).points == found.points
