"""Causes of the messages under "Loading a function" and "Errors of a function"."""

import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np

from docs import model_causes
from docs.causes import Causes, function
from pictures import picture
from prefect_cvat import annotate_task, for_cvat_sdk
from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    keypoint_spec,
    mask,
    rectangle,
    skeleton_label_spec,
)
from prefect_cvat.auto_annotation.functions._extras import import_extra
from prefect_cvat.auto_annotation.loading import load_function, load_function_file, parse_parameter
from prefect_cvat.masks import encode_mask

cause = Causes()


@cause
def unknown_function(given):
    load_function("nanodet")


@cause
def a_path(given):
    load_function("my_function.py")


@cause
def a_module_that_is_not_allowed(given):
    load_function("our.functions")


@cause
def no_type(given):
    parse_parameter("size=640")


@cause
def wrong_parameter(given):
    load_function("nanodet_detection", {"threshold": 0.5})


@cause
def no_batch_size(given):
    load_function("grabcut_interaction", {"batch_size": 2})


@cause
def no_function(given):
    path = given.folder / "nothing.py"
    path.write_text("x = 1\n")
    load_function_file(path)


@cause
def no_torch(given):
    with mock.patch.dict(sys.modules, {"torch": None}):
        sys.modules.pop("prefect_cvat.auto_annotation.functions.nanodet_detection", None)
        load_function("nanodet_detection")


@cause
def no_libgl(given):
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    with mock.patch("importlib.import_module", side_effect=error):
        import_extra("cv2")


@cause
def no_such_device(given):
    load_function("nanodet_detection", {"device": "cuda:99"})


for words_that_cannot_be in (
    model_causes.model_that_is_nowhere,
    model_causes.model_without_a_tokenizer,
    model_causes.words_that_are_too_long,
    model_causes.words_of_another_language,
):
    cause(words_that_cannot_be)


@cause
def no_function_for_cvat_cli(given):
    for_cvat_sdk.create(score_threshold=0.5)


# --- errors of functions ---


@cause
def unmatched_label(given):
    annotate_task(given.client, given.task, function(label="car"))


@cause
def a_skeleton_without_all_keypoints(given):
    keypoints = [keypoint_spec("head", None), keypoint_spec("hand", None)]
    task = given.client.create_task("skeletons", [skeleton_label_spec("body", None, keypoints)])
    given.client.upload_images(task.id, {"one.png": picture()})
    spec = DetectionFunctionSpec(labels=[skeleton_label_spec("body", 0, [keypoint_spec("head", 1)])])
    annotate_task(given.client, task.id, SimpleNamespace(spec=spec, detect=lambda context, image: []))


@cause
def unknown_label_id(given):
    annotate_task(given.client, given.task, function(lambda context, image: [rectangle(9, [0, 0, 5, 5])]))


def a_mask(context, image):
    return [mask(0, encode_mask(np.ones((5, 5), bool)))]


@cause
def wrong_type(given):
    annotate_task(given.client, given.task, function(a_mask))


@cause
def a_mask_in_spite_of_polygons(given):
    annotate_task(given.client, given.task, function(a_mask, label_type="any"), conv_mask_to_poly=True)


@cause
def code_that_fails(given):
    annotate_task(given.client, given.task, function(lambda context, image: [1 / 0]))


@cause
def a_device_that_is_too_small(given):
    annotate_task(given.client, given.task, model_causes.function_without_memory(given))


@cause
def a_device_that_fails(given):
    def detect(context, image):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    annotate_task(given.client, given.task, function(detect))
