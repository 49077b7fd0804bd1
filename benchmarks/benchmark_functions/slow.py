"""A function that takes as long as the environment says, and finds one box."""

import os
import time

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

SECONDS = float(os.environ.get("BENCHMARK_DETECT_SECONDS", "0"))

version = "1"
spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])


def detect(context, image):
    time.sleep(SECONDS)
    return [rectangle(1, [1, 2, 30, 40], score=0.5)]
