"""Files of functions for a gateway."""

from pathlib import Path

_DETECTOR = """
import pathlib, time
from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle
class Function:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 1)])
    def detect(self, context, image):
        {body}
        return [rectangle(1, [1, 2, 3, 4])]
    def close(self):
        pathlib.Path({closed!r}).touch()
def create():
    return Function()
"""

TRACKER = """
from prefect_cvat.auto_annotation import TrackableShape, TrackingFunctionSpec
class Function:
    spec = TrackingFunctionSpec(supported_shape_types={"rectangle"})
    def init_tracking_state(self, context, pp_image, shape):
        return shape.points
    def track(self, context, pp_image, state):
        return TrackableShape(type="rectangle", points=state)
def create():
    return Function()
"""


def write_function(folder: Path, name: str, body: str = "pass") -> Path:
    """A detection function with this body, or the code of another function."""
    file = folder / f"{name}.py"
    is_code = body.startswith("\n")
    file.write_text(body if is_code else _DETECTOR.format(body=body, closed=str(folder / f"{name}.closed")))
    return file
