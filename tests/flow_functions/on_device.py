"""Reports its device, and whether it was closed; finds nothing."""

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec


class _Function:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0, type="rectangle")])
    is_closed = False

    def __init__(self, device: str) -> None:
        self.device = device

    def detect(self, context, image):
        return []

    def close(self) -> None:
        self.is_closed = True


def create(device: str = "cpu") -> _Function:
    return _Function(device)
