"""Writes a dataset in COCO's format: `annotations.json`, as pycocotools and CVAT read it.

In addition to COCO's fields, annotations have their `score` and, as in CVAT's own exports, their
`attributes`; images have the number of their `frame`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import to_json

from prefect_cvat.export.dataset import Annotation, Dataset, WriteSummary, unreadable_as_error
from prefect_cvat.frames import Frame
from prefect_cvat.geometry.clip_at_image_edge import is_empty
from prefect_cvat.geometry.coco_format import box_of, keypoints_of, segmentation_of
from prefect_cvat.geometry.outlines import WITH_AREA, has_outline
from prefect_cvat.models import Attribute, InputTypeEnum, Label

__all__ = ["write_coco"]


def write_coco(folder: Path, dataset: Dataset) -> WriteSummary:
    """Write `annotations.json`, one annotation after the other.

    Ids begin at 1. Categories are in the order of the task's labels. The `segmentation` is empty for shapes
    of which only the box is known, compressed run lengths for masks (with `iscrowd` 0), a polygon for others.
    Skeletons have `keypoints`.

    Args:
        folder: The folder of the dataset.
        dataset: The dataset.

    Returns:
        What was written and left out.

    Raises:
        InvalidResponseError: The server returned an invalid shape.
        OSError: The file cannot be written.
    """
    written = WriteSummary()
    with (folder / "annotations.json").open("wb") as file:
        file.write(b'{"info": {}, "licenses": [],\n"categories": ')
        _write_list(file, (_category(number, label) for number, label in enumerate(dataset.labels, 1)))
        file.write(b',\n"images": ')
        _write_list(file, (_image(frame, dataset.names.image(frame)) for frame in dataset.frames))
        file.write(b',\n"annotations": ')
        _write_list(file, _annotations(dataset, written))
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


def _annotations(dataset: Dataset, written: WriteSummary) -> Iterator[dict[str, Any]]:
    frames = dataset.frames.by_number
    categories = {label.id: (number, label) for number, label in enumerate(dataset.labels, 1)}
    count = 0
    for item in dataset.annotations():
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
    """COCO's fields for the geometry of an object; None if it is empty or has no equivalent in COCO."""
    kind = item.get("type")
    if kind == "skeleton":
        with unreadable_as_error(item, frame):
            keypoints = keypoints_of(item, [sublabel.id for sublabel in label.sublabels])
        box = keypoints["bbox"]
        if not keypoints["num_keypoints"]:
            return None
        return {**keypoints, "area": box[2] * box[3], "segmentation": []}
    if kind not in WITH_AREA or is_empty(kind, item["points"]):
        return None
    with unreadable_as_error(item, frame):
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
        except ValueError:  # CVAT does not validate numbers
            return text
    return text
