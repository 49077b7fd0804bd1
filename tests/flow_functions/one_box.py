"""Finds a car in the same place on each frame, and fails on pictures that are called so."""

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 0, type="rectangle")])
version = "1"


def detect(context, image):
    if context.frame_name == "cursed.png":
        raise RuntimeError("cursed.png is cursed")
    return [rectangle(0, [1, 2, 30, 40], score=0.75)]
