"""Counts the models that are made; takes prompts, but no labels of a task."""

from prefect_cvat.auto_annotation import DetectionFunctionSpec, label_spec, rectangle

made = 0


class _Function:
    spec = DetectionFunctionSpec(labels=[label_spec("warm", 0, type="rectangle")])

    def __init__(self, prompts) -> None:
        global made
        made += 1
        self.prompts = prompts

    def detect(self, context, image):
        return [rectangle(0, [1, 2, 30, 40])]


def create(*, prompts=None) -> _Function:
    return _Function(prompts)
