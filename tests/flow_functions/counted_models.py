"""Counts the models that are loaded at the same time; finds a car on each frame."""

import threading

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

DEVICE = "cpu"

made = 0
alive = 0
most = 0

_lock = threading.Lock()


class _Function:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0, type="rectangle")])
    version = "1"

    def __init__(self) -> None:
        global made, alive, most
        self.device = DEVICE
        with _lock:
            made += 1
            alive += 1
            most = max(most, alive)

    def detect(self, context, image):
        return [rectangle(0, [1, 2, 30, 40], score=0.75)]

    def close(self) -> None:
        global alive
        with _lock:
            alive -= 1


def create() -> _Function:
    return _Function()
