"""A dataset in COCO's format: `annotations.json`, as pycocotools and CVAT read it.

Beyond COCO's own fields, annotations have their `score` and, as those that CVAT writes, their `attributes`;
images have the number of their `frame`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import to_json

from prefect_cvat.export.content import Annotation, Content, Written, readable
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clipping import is_empty
from prefect_cvat.geometry.coco import WITH_AREA, box_of, has_outline, keypoints_of, segmentation_of
from prefect_cvat.models import Attribute, InputTypeEnum, Label

__all__ = ["write_coco"]


def write_coco(folder: Path, content: Content) -> Written:
    """Write `annotations.json`, one annotation after the other.

    Ids of images and annotations begin at 1; categories have theirs in the order of the task's labels. Shapes
    of which only a box is known have an empty `segmentation`; masks are compressed run lengths, each an
    object of its own (`iscrowd` 0), all others polygons. Skeletons have `keypoints`.

    Args:
        folder: Where to write it.
        content: What to write.

    Returns:
        What became of it.

    Raises:
        InvalidResponseError: A shape is none.
        OSError: The disk does not take it.
    """
    written = Written()
    with (folder / "annotations.json").open("wb") as file:
        file.write(b'{"info": {}, "licenses": [],\n"categories": ')
        _write_list(file, (_category(number, label) for number, label in enumerate(content.labels, 1)))
        file.write(b',\n"images": ')
        _write_list(file, (_image(frame, content.names.image(frame)) for frame in content.frames))
        file.write(b',\n"annotations": ')
        _write_list(file, _annotations(content, written))
        file.write(b"}\n")
    return written


def _write_list(file: BinaryIO, items: Iterable[Mapping[str, Any]]) -> None:
    separator = b"[\n"
    for item in items:
        file.write(separator + to_json(item))
        separator = b",\n"
    file.write(b"[]" if separator == b"[\n" else b"\n]")


def _category(number: int, label: Label) -> dict[str, Any]:
    own = {"id": number, "name": label.name, "supercategory": ""}
    if not label.sublabels:
        return own
    return {**own, "keypoints": [sublabel.name for sublabel in label.sublabels], "skeleton": []}


def _image(frame: Frame, name: str) -> dict[str, Any]:
    return {
        "id": frame.number + 1,
        "file_name": name,
        "width": frame.width,
        "height": frame.height,
        "frame": frame.number,
    }


def _annotations(content: Content, written: Written) -> Iterator[dict[str, Any]]:
    frames = content.frames.by_number
    categories = {label.id: (number, label) for number, label in enumerate(content.labels, 1)}
    count = 0
    for item in content.annotations():
        number, label = categories[item["label_id"]]
        frame = frames[item["frame"]]
        shape = _shape(item, label, frame)
        if shape is None:
            written.leave_out(item)
            continue
        count += 1
        written.add(label.name, frame.number)
        written.outlines |= bool(shape["segmentation"])
        yield {
            "id": count,
            "image_id": frame.number + 1,
            "category_id": number,
            "iscrowd": 0,
            **shape,
            "score": float(item.get("score", 1.0)),
            "attributes": {"occluded": bool(item.get("occluded")), **_attributes(item, label.attributes)},
        }


def _shape(item: Annotation, label: Label, frame: Frame) -> dict[str, Any] | None:
    """The fields that say where an object is; None if it is empty or COCO has no place for it."""
    kind = item.get("type")
    if kind == "skeleton":
        with readable(item, frame):
            found = keypoints_of(item, [sublabel.id for sublabel in label.sublabels])
        box = found["bbox"]
        return {**found, "area": box[2] * box[3], "segmentation": []} if found["num_keypoints"] else None
    if kind not in WITH_AREA or is_empty(kind, item["points"]):
        return None
    with readable(item, frame):
        box = box_of(item)
        if not has_outline(item):
            return {"bbox": box, "area": box[2] * box[3], "segmentation": []}
        segmentation = segmentation_of(item, frame)
        return {"bbox": box, "area": _area(segmentation, frame), "segmentation": segmentation}


def _area(segmentation: Any, frame: Frame) -> float:
    from faster_coco_eval import mask  # imports OpenCV where there is one

    if isinstance(segmentation, list):
        segmentation = mask.merge(mask.frPyObjects(segmentation, frame.height, frame.width))
    return float(mask.area(segmentation))


def _attributes(item: Annotation, attributes: Iterable[Attribute]) -> dict[str, bool | float | str]:
    values = {value["spec_id"]: value["value"] for value in item.get("attributes") or ()}
    return {
        attribute.name: _value(values[attribute.id], attribute.input_type)
        for attribute in attributes
        if attribute.id in values
    }


def _value(text: str, input_type: InputTypeEnum) -> bool | float | str:
    if input_type is InputTypeEnum.CHECKBOX:
        return text.lower() == "true"
    if input_type is InputTypeEnum.NUMBER:
        try:
            return float(text)
        except ValueError:  # CVAT does not hold numbers against their attribute
            return text
    return text
