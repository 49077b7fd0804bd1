"""A function as authors write them for the SDK: it does not use prefect_cvat.

It makes every kind of annotation that the SDK can; what it makes depends on the image.
"""

from __future__ import annotations

import dataclasses

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image
from cvat_sdk import models
from cvat_sdk.attributes import attribute_vals_from_dict, number_attribute_values
from cvat_sdk.masks import encode_mask

CAR, LAND, ROAD, DOTS, EYE, BOX, BLOB, BODY, SCENE, THING = range(10)
DOORS, COLOUR, PARKED, PLATE, SIDE = range(5)


@dataclasses.dataclass
class Measured:
    """A dataclass in a file that is loaded by its path, with annotations that are strings."""

    left: float
    top: float
    shade: int


spec = cvataa.DetectionFunctionSpec(
    labels=[
        cvataa.label_spec(
            "car",
            CAR,
            type="rectangle",
            attributes=[
                cvataa.number_attribute_spec("doors", DOORS, number_attribute_values(0, 255)),
                cvataa.select_attribute_spec("colour", COLOUR, ["red", "blue"]),
                cvataa.checkbox_attribute_spec("parked", PARKED),
                cvataa.text_attribute_spec("plate", PLATE),
                cvataa.radio_attribute_spec("side", SIDE, ["left", "right"]),
            ],
        ),
        cvataa.label_spec("land", LAND, type="polygon"),
        cvataa.label_spec("road", ROAD, type="polyline"),
        cvataa.label_spec("dots", DOTS, type="points"),
        cvataa.label_spec("eye", EYE, type="ellipse"),
        cvataa.label_spec("box", BOX, type="cuboid"),
        cvataa.label_spec("blob", BLOB, type="mask"),
        cvataa.skeleton_label_spec(
            "body",
            BODY,
            [
                cvataa.keypoint_spec(
                    "head", 0, attributes=[cvataa.select_attribute_spec("hat", 0, ["none", "cap", "helmet"])]
                ),
                cvataa.keypoint_spec("hand", 1),
                cvataa.keypoint_spec("foot", 2, color="#00ff00"),
            ],
            attributes=[cvataa.checkbox_attribute_spec("moves", 0)],
        ),
        cvataa.label_spec("scene", SCENE, type="tag", attributes=[cvataa.text_attribute_spec("weather", 0)]),
        cvataa.label_spec("thing", THING),
    ]
)


def measure(image: PIL.Image.Image) -> Measured:
    pixels = np.asarray(image.convert("L"))
    return Measured(float(pixels[0, 0]) / 20, float(pixels[1, 0]) / 20, int(pixels[2, 0]))


def detect(
    context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
) -> list[models.LabeledShapeRequest | models.LabeledImageRequest]:
    assert isinstance(context.frame_name, str)
    found = measure(image)
    x, y = found.left, found.top
    values = {DOORS: found.shade, COLOUR: "blue", PARKED: True, PLATE: context.frame_name, SIDE: "right"}
    bitmap = np.asarray(image.convert("L")) > 160
    level = context.conf_threshold or 0.25
    blob = (
        cvataa.polygon(BLOB, [x, y, x + 9, y, x + 9.5, y + 9])
        if context.conv_mask_to_poly
        else cvataa.mask(BLOB, encode_mask(bitmap, [x, y, x + 20.5, y + 10]))
    )
    return [
        cvataa.rectangle(CAR, [x, y, x + 20.25, y + 10], attributes=attribute_vals_from_dict(values)),
        cvataa.rectangle(
            CAR, [x, y, x + 20.25, y + 10], rotation=33.3, occluded=True, z_order=2, score=level
        ),
        cvataa.polygon(LAND, [x, y, x + 9, y, x + 9.5, y + 9, x, y + 9], group=3),
        cvataa.shape(ROAD, type="polyline", points=[x, y, x + 9.125, y + 1, x + 20, y + 3]),
        cvataa.shape(DOTS, type=models.ShapeType("points"), points=[x, y, x + 1, y + 2], outside=False),
        models.LabeledShapeRequest(
            type=models.ShapeType("ellipse"), frame=0, label_id=EYE, points=[x + 10, y + 10, x + 15, y + 3]
        ),
        cvataa.shape(BOX, type="cuboid", points=[x + i + j for i in range(8) for j in (0.5, i % 3)]),
        blob,
        cvataa.skeleton(
            BODY,
            [
                cvataa.keypoint(1, [x + 2, y + 2], occluded=True),
                cvataa.keypoint(2, [x + 3, y + 3], outside=True),
                cvataa.keypoint(0, [x, y], attributes=[models.AttributeValRequest(spec_id=0, value="cap")]),
            ],
            attributes=attribute_vals_from_dict({0: False}),
        ),
        cvataa.tag(SCENE, attributes=[models.AttributeValRequest(0, "rain")]),
        cvataa.tag(THING),
        cvataa.rectangle(THING, [x, y, x + 5, y + 5]),
    ]
