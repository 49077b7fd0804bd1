"""Finds a car with the help of a service that wants a key, as services of models do."""

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle


class WithKey:
    spec = DetectionFunctionSpec(labels=[label_spec("car", 0, type="rectangle")])

    def __init__(self, api_key):
        self.api_key = api_key

    def detect(self, context, image):
        assert f"Bearer {self.api_key}" == "Bearer 0123456789"  # digits, but still text
        return [rectangle(0, [1, 2, 30, 40])]


def create(api_key="none"):
    if api_key == "refused-0123456789":
        raise ValueError(f"the key {api_key} is not valid")
    return WithKey(api_key)
