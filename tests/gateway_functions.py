"""Small functions for the gateway: what they return is given, and what they get is noted."""

import time

from prefect_cvat.auto_annotation import (
    DetectionFunctionSpec,
    InteractionFunctionSpec,
    InteractionResultShape,
    TrackableShape,
    TrackingFunctionSpec,
    checkbox_attribute_spec,
    keypoint_spec,
    label_spec,
    number_attribute_spec,
    rectangle,
    select_attribute_spec,
    skeleton_label_spec,
)
from prefect_cvat.masks import encode_mask
from prefect_cvat.models import AttributeValRequest

CAR, SKY, BODY, WEATHER = 10, 20, 30, 40
HEAD, TAIL = 31, 32
COLOUR, COUNT, PARKED = 1, 2, 3

LABELS = [
    label_spec(
        "car",
        CAR,
        attributes=[
            select_attribute_spec("colour", COLOUR, ["red", "blue"]),
            number_attribute_spec("count", COUNT, ["0", "10", "2"]),
            checkbox_attribute_spec("parked", PARKED),
        ],
    ),
    label_spec("sky", SKY, type="mask"),
    skeleton_label_spec("body", BODY, [keypoint_spec("head", HEAD), keypoint_spec("tail", TAIL)]),
    label_spec("weather", WEATHER, type="tag"),
]


class Detection:
    """Returns what it was given, or a rectangle."""

    def __init__(self, annotations=None, labels=LABELS, seconds=0.0):
        self.annotations = (
            [rectangle(CAR, [1, 2, 10, 12], score=0.75)] if annotations is None else annotations
        )
        self.spec = DetectionFunctionSpec(labels=labels)
        self.seconds = seconds
        self.contexts = []
        self.images = []

    def detect(self, context, image):
        self.contexts.append(context)
        self.images.append(image)
        time.sleep(self.seconds)
        return self.annotations


class BatchedDetection(Detection):
    """Takes 50 ms for an image and 10 ms for each further one in a batch."""

    batch_size = 8

    def __init__(self, first=0.05, further=0.01):
        super().__init__()
        self.first, self.further = first, further
        self.batches = []

    def detect_batch(self, contexts, images):
        self.batches.append(len(images))
        time.sleep(self.first + self.further * (len(images) - 1))
        return [self.annotations for _ in images]


class Interaction:
    """Finds a square around the first point, or the box."""

    def __init__(self, preparing=0.0, prompting=0.0, result=None, **spec):
        spec = {"min_pos_points": 0, "min_neg_points": 0, "min_bounding_boxes": 0, **spec}
        self.spec = InteractionFunctionSpec(**spec)
        self.preparing, self.prompting, self.result = preparing, prompting, result
        self.prepared, self.prompts = 0, []

    def preprocess_image(self, context, image):
        self.prepared += 1
        time.sleep(self.preparing)
        return image.size

    def detect(self, context, pp_image, prompts):
        self.prompts.append(prompts)
        time.sleep(self.prompting)
        if self.result is not None:
            return self.result
        if not prompts.pos_points and prompts.bounding_box is None:
            return []
        bitmap = mask_of(pp_image, prompts)
        confidence = AttributeValRequest(spec_id=0, value="0.87")
        return [InteractionResultShape(type="mask", points=encode_mask(bitmap), attributes=[confidence])]


def mask_of(size, prompts):
    import numpy as np

    bitmap = np.zeros(size[::-1], dtype=bool)
    if prompts.bounding_box is not None:
        (x1, y1), (x2, y2) = prompts.bounding_box
        bitmap[int(y1) : int(y2), int(x1) : int(x2)] = True
    else:
        x, y = map(int, prompts.pos_points[0])
        bitmap[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = True
    return bitmap


class Tracking:
    """Moves a shape by (2, 1) for each image, and loses it after `lives` images."""

    def __init__(self, lives=1000, types=("rectangle", "polygon")):
        self.spec = TrackingFunctionSpec(supported_shape_types=set(types))
        self.lives = lives
        self.prepared = 0

    def preprocess_image(self, context, image):
        self.prepared += 1
        return image.size

    def init_tracking_state(self, context, pp_image, shape):
        return {"points": shape.points, "age": 0}

    def track(self, context, pp_image, state):
        state["age"] += 1
        if state["age"] > self.lives:
            return None
        state["points"] = [
            number + (2 if place % 2 == 0 else 1) for place, number in enumerate(state["points"])
        ]
        return TrackableShape(type=context.original_shape_type, points=state["points"])
