"""Built-in functions in the gateway, with images of every mode that CVAT was seen to send."""

import numpy as np
import PIL.Image
import pytest
from skimage.data import astronaut

from cvat_calls import CvatCalls, image_file, stored
from prefect_cvat.auto_annotation.functions import (
    grabcut_interaction,
    nanodet_detection,
    optical_flow_tracking,
)
from prefect_cvat.gateway import Gateway, GatewayConfiguration
from prefect_cvat.masks import decode_mask


@pytest.fixture(scope="module")
def calls():
    functions = {
        "nanodet": nanodet_detection.create(device="cpu"),
        "grabcut": grabcut_interaction.create(),
        "flow": optical_flow_tracking.create(),
    }
    with Gateway(GatewayConfiguration(port=0), functions=functions) as gateway:
        yield CvatCalls(gateway)


def file_of(pixels, mode):
    if mode == "I;16":
        return image_file(np.asarray(PIL.Image.fromarray(pixels).convert("L")).astype(np.uint16) * 257)
    return image_file(PIL.Image.fromarray(pixels).convert(mode), "JPEG" if mode == "CMYK" else "PNG")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "CMYK"])
def test_images_of_any_mode(calls, mode):
    first, second = (file_of(np.roll(astronaut(), shift, axis=1), mode) for shift in (0, 6))
    people = [item for item in calls.from_page("nanodet", first) if item["label"] == "person"]
    assert any(_overlap(stored(person), [14, 14, 364, 508]) > 0.7 for person in people)
    box = [[100, 20], [320, 400]]
    (shape,) = calls.from_page("grabcut", first, pos_points=[[220, 100]], neg_points=[], obj_bbox=box)[
        "shapes"
    ]
    assert decode_mask(shape["points"], image_width=512, image_height=512)[100, 220]
    states = calls.from_page("flow", first, shapes=[{"type": "rectangle", "points": [180, 60, 280, 200]}])
    (moved,) = calls.from_page("flow", second, shapes=[None], states=states["states"])["shapes"]
    assert moved["points"] == pytest.approx([186, 60, 286, 200], abs=2)


def _overlap(one, other):
    """Intersection over union of two rectangles."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (one, other)]
    return shared / (sum(areas) - shared)
