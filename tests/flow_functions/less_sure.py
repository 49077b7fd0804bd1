"""Finds a car in the same place on all pictures but 0000.png, the less sure the later the picture."""

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

spec = DetectionFunctionSpec(labels=[label_spec("car", 0, type="rectangle")])
version = "1"


def detect(context, image):
    number = int(context.frame_name.split(".")[0])
    return [rectangle(0, [1, 2, 11, 12], score=1 - number / 20)] if number else []
