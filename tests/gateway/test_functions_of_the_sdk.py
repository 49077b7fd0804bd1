"""Functions written for cvat-sdk, with its own classes, in the gateway."""

import cvat_sdk.auto_annotation as cvataa
import cvat_sdk.models as models
import numpy as np
from cvat_sdk.masks import encode_mask

from cvat_calls import stored
from prefect_cvat.masks import decode_mask


class Detection:
    spec = cvataa.DetectionFunctionSpec(
        labels=[
            cvataa.label_spec(
                "car", 1, type="rectangle", attributes=[cvataa.select_attribute_spec("colour", 1, ["red"])]
            ),
            cvataa.label_spec("sky", 2, type="mask"),
            cvataa.skeleton_label_spec("body", 3, [cvataa.keypoint_spec("head", 4)]),
            cvataa.label_spec("night", 5, type="tag"),
        ]
    )

    def detect(self, context, image):
        bitmap = np.zeros((image.height, image.width), dtype=bool)
        bitmap[5:9, 3:20] = True
        colour = models.AttributeValRequest(spec_id=1, value="red")
        return [
            cvataa.rectangle(1, [1, 2, 30, 40], attributes=[colour]),
            cvataa.mask(2, encode_mask(bitmap, [3, 5, 20, 9])),
            cvataa.skeleton(3, [cvataa.keypoint(4, [7, 8])]),
            cvataa.tag(5),
        ]


class Interaction:
    spec = cvataa.InteractionFunctionSpec(min_pos_points=1, min_neg_points=0)

    def detect(self, context, pp_image, prompts):
        ((x, y),) = prompts.pos_points
        bitmap = np.zeros((pp_image.height, pp_image.width), dtype=bool)
        bitmap[int(y), int(x)] = True
        box = [int(x), int(y), int(x) + 1, int(y) + 1]
        return [cvataa.InteractionResultShape(type="mask", points=encode_mask(bitmap, box))]


class Tracking:
    spec = cvataa.TrackingFunctionSpec(supported_shape_types=["rectangle"])

    def init_tracking_state(self, context, pp_image, shape):
        return shape

    def track(self, context, pp_image, state):
        return cvataa.TrackableShape(type="rectangle", points=[number + 1 for number in state.points])


def test_detection_function(serve):
    items = serve(det=Detection()).from_page("det")  # tags come first
    assert [item["label"] for item in items] == ["night", "car", "sky", "body"]
    assert items[1]["attributes"] == [{"name": "colour", "value": "red"}]
    assert stored(items[2]) == [0, 68, 3, 5, 19, 8]
    assert items[3]["elements"][0] == {
        "label": "head",
        "type": "points",
        "points": [7, 8],
        "attributes": [],
        "outside": False,
    }


def test_interaction_function(serve):
    (shape,) = serve(sam=Interaction()).from_page("sam", pos_points=[[4.5, 6.5]])["shapes"]
    assert decode_mask(shape["points"], image_width=64, image_height=48)[6, 4]


def test_tracking_function(serve):
    calls = serve(trk=Tracking())
    states = calls.from_page("trk", shapes=[{"type": "rectangle", "points": [1, 2, 3, 4]}])["states"]
    (shape,) = calls.from_page("trk", shapes=[None], states=states)["shapes"]
    assert shape == {"type": "rectangle", "points": [2, 3, 4, 5]}
