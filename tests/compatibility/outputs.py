"""Output of functions, made with the SDK or with this library."""

from typing import Any

from compatibility.libraries import (
    Library,
)

CAR, BLOB, AREA, SCENE, BODY, THING = range(11, 17)

HEAD, HAND = 21, 22

DOORS, COLOUR, PARKED, PLATE, SIDE, HAT = range(31, 37)

MASK = [0, 4, 10, 10, 11, 11]

POLYGON = [1, 1, 20, 1, 20, 20]


def labels(lib: Library, *, with_ids: bool = True) -> list[Any]:
    cvataa = lib.cvataa

    def number(of: int) -> int | None:
        return of if with_ids else None

    return [
        cvataa.label_spec(
            "car",
            number(CAR),
            type="rectangle",
            attributes=[
                cvataa.number_attribute_spec("doors", number(DOORS), ["0", "6", "2"]),
                cvataa.select_attribute_spec("colour", number(COLOUR), ["red", "blue"]),
                cvataa.checkbox_attribute_spec("parked", number(PARKED)),
                cvataa.text_attribute_spec("plate", number(PLATE)),
                cvataa.radio_attribute_spec("side", number(SIDE), ["l", "r"]),
            ],
        ),
        cvataa.label_spec("blob", number(BLOB), type="mask"),
        cvataa.label_spec("area", number(AREA), type="polygon"),
        cvataa.label_spec("scene", number(SCENE), type="tag"),
        cvataa.skeleton_label_spec(
            "body",
            number(BODY),
            [
                cvataa.keypoint_spec(
                    "head",
                    number(HEAD),
                    attributes=[cvataa.checkbox_attribute_spec("hat", number(HAT))],
                ),
                cvataa.keypoint_spec("hand", number(HAND)),
            ],
        ),
        cvataa.label_spec("thing", number(THING), type="any"),
    ]


def spec(lib: Library) -> Any:
    return lib.cvataa.DetectionFunctionSpec(labels=labels(lib))


def good(lib: Library) -> list[Any]:
    """One of everything."""
    cvataa = lib.cvataa
    values = {DOORS: 4, COLOUR: "red", PARKED: True, PLATE: "X 1", SIDE: "l"}
    return [
        car(lib, attributes=lib.attributes.attribute_vals_from_dict(values)),
        cvataa.mask(BLOB, MASK),
        cvataa.polygon(AREA, POLYGON),
        cvataa.tag(SCENE),
        body(lib),
        cvataa.mask(THING, MASK),
        cvataa.tag(THING),
    ]


def car(lib: Library, **fields: Any) -> Any:
    return lib.cvataa.rectangle(CAR, [1, 2, 30, 40], **fields)


def body(lib: Library, *more: Any, head: Any = None, hand: bool = True, **fields: Any) -> Any:
    elements = [head or lib.cvataa.keypoint(HEAD, [5, 6])]
    if hand:
        elements.append(lib.cvataa.keypoint(HAND, [7, 8]))
    return lib.cvataa.skeleton(BODY, [*elements, *more], **fields)


def head(lib: Library, **fields: Any) -> Any:
    return lib.cvataa.keypoint(HEAD, [5, 6], **fields)


def element(lib: Library, **fields: Any) -> Any:
    defaults = {"type": "points", "label_id": HEAD, "frame": 0, "points": [5, 6]}
    return lib.models.SubLabeledShapeRequest(**(defaults | fields))


def value(lib: Library, spec_id: int, text: str) -> Any:
    return lib.models.AttributeValRequest(spec_id=spec_id, value=text)


def with_fields(shape: Any, **changes: Any) -> Any:
    for name, item in changes.items():
        getattr(shape, name).append(item)
    return shape
