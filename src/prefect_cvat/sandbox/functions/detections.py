"""Converts what a detector answers to annotations of a frame, as CVAT 2.73.

Items without a label or a type, and other answers than a list, raise `KeyError`, `TypeError` and the like:
CVAT answers 500.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from prefect_cvat.sandbox.annotations.annotation_body import Annotations, validate_annotations
from prefect_cvat.sandbox.api.reply import Json
from prefect_cvat.sandbox.functions.label_mapping import LabelMapping, LabelTarget


def convert(answer: Any, mapping: LabelMapping, frame: int, *, conv_mask_to_poly: bool) -> Annotations:
    """Convert an answer. Unknown labels, and attributes with unsuitable values, are dropped.

    Args:
        answer: A list of items.
        mapping: The labels of the task.
        frame: The number of the frame in its task.
        conv_mask_to_poly: Whether a mask that has `points`, too, becomes a polygon of these.

    Raises:
        ApiError: 400 if a shape is invalid.
    """
    tags: list[Json] = []
    shapes: list[Json] = []
    for item in answer:
        target, kind = mapping.get(item["label"]), item["type"]
        if target is None:
            continue
        if kind == "tag":
            tags.append({**_common(item, target, frame), "group": item.get("group_id")})
        elif (shape := _shape(item, target, frame, conv_mask_to_poly)) is not None:
            shapes.append(shape)
    return validate_annotations({"tags": tags, "shapes": shapes}, new=True)


def as_json(annotations: Annotations) -> Json:
    """The annotations of one frame, which are not stored, as the API shows them."""
    return {
        "version": 0,
        "tags": [{"id": None, **tag} for tag in annotations.tags],
        "shapes": list(map(_shown, annotations.shapes)),
        "tracks": [],
        "intervals": [],
    }


def _shown(shape: Json) -> Json:
    shown = {"id": None, "points": [], **shape}
    if "elements" in shape:
        shown["elements"] = list(map(_shown, shape["elements"]))
    return shown


def _shape(item: Json, target: LabelTarget, frame: int, conv_mask_to_poly: bool) -> Json | None:
    kind = item["type"]
    shape = {
        **_common(item, target, frame),
        "group": item.get("group_id"),
        "type": kind,
        "outside": item.get("outside", False),
    }
    if kind == "skeleton":
        shape["elements"] = _elements(item.get("elements", []), target, frame)
        # without a visible keypoint there is nothing to show
        return shape if any(not element["outside"] for element in shape["elements"]) else None
    if kind == "mask" and conv_mask_to_poly and "points" in item:
        return {**shape, "type": "polygon", "points": item["points"]}
    shape["points"] = _run_lengths(item["mask"]) if kind == "mask" else item.get("points", [])
    if kind in ("rectangle", "ellipse"):
        shape["rotation"] = item.get("rotation", 0)
    return shape


def _common(item: Json, target: LabelTarget, frame: int) -> Json:
    return {
        "frame": frame,
        "label_id": target.label["id"],
        "source": "auto",
        "attributes": list(_values(item.get("attributes", []), target)),
    }


def _run_lengths(mask: Sequence[float]) -> list[float]:
    """Encode a mask, 0 or 1 for each pixel of its box row by row, and then the box."""
    cells, box = mask[:-4], mask[-4:]
    lengths = [len(list(run)) for _, run in groupby(cells)]
    return [*([0] if cells[0] else []), *lengths, *box]


def _elements(items: Iterable[Json], target: LabelTarget, frame: int) -> list[Json]:
    """The keypoints of a skeleton in the order of its label; missing ones are outside, in the middle."""
    found: dict[int, Json] = {}
    for item in items:
        if (sublabel := target.sublabels.get(item["label"])) is not None:
            found[sublabel.label["id"]] = {
                **_common(item, sublabel, frame),
                "type": "points",
                "points": item["points"],
                "outside": item.get("outside", False),
            }
    xs, ys = ([n for each in found.values() for n in each["points"][axis::2]] for axis in (0, 1))
    middle = [(min(each) + max(each)) / 2 for each in (xs, ys)] if xs else [0.0, 0.0]
    missing = {"frame": frame, "source": "auto", "type": "points", "points": middle, "outside": True}
    return [
        found.get(sublabel["id"], {**missing, "label_id": sublabel["id"]})
        for sublabel in target.label["sublabels"]
    ]


def _values(items: Iterable[Json], target: LabelTarget) -> Iterator[Json]:
    for item in items:
        attribute = target.attributes.get(item["name"])
        if attribute is not None and _is_suitable(item["value"], attribute):
            yield {"spec_id": attribute["id"], "value": str(item["value"])}


def _is_suitable(value: Any, attribute: Json) -> bool:
    match attribute["input_type"]:
        case "number":
            low, high, step = map(int, attribute["values"])
            try:
                number = int(value)
            except ValueError:
                return False
            return low <= number <= high and (number - low) % step == 0
        case "checkbox":
            return value in ("true", "false")
        case "text":
            return True
    # CVAT 2.73 looks for it in a text with all values, so a part of one passes
    return value in "\n".join(attribute["values"])
