"""A function that costs nothing, written for either library: all that it does is make what it returns."""

from typing import Any


def make(aa: Any, boxes: int, *, decode: bool = False) -> Any:
    """Make the function with the objects of `prefect_cvat.auto_annotation` or of the SDK's.

    With `decode` it also needs the pixels.
    """

    class Free:
        spec = aa.DetectionFunctionSpec(labels=[aa.label_spec("car", 1, type="rectangle")])

        def detect(self, context: Any, image: Any) -> Any:
            if decode:
                image.load()
            return [aa.rectangle(1, [1.5 + i / 8, 2.25, 20.75 + i / 8, 40.5]) for i in range(boxes)]

    return Free()
