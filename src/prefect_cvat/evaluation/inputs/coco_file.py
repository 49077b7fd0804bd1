"""Predictions from a data set in COCO's format, such as one that `export` has written."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from prefect_cvat.evaluation.inputs.annotations_by_frame import FrameAnnotations
from prefect_cvat.evaluation.inputs.predictions import Predictions
from prefect_cvat.exceptions import NothingToEvaluateError
from prefect_cvat.frames import Frame
from prefect_cvat.masks import encode_mask
from prefect_cvat.messages.plurals import pluralize, quoted_list
from prefect_cvat.models import Label
from prefect_cvat.planning.plan import TaskInfo

__all__ = ["read_coco_file"]

_FRAME_OF_VIDEO = re.compile(r"frame_(\d+)")
"""How `export` names the frames of videos."""


def read_coco_file(
    file: Path, info: TaskInfo, frames: Sequence[Frame], *, ignore_case: bool = False
) -> Predictions:
    """Read the annotations of a data set in COCO's format as predictions.

    Images are matched by `file_name` with the names of frames, with or without their folder; those of a video
    by `frame`, the number of the frame, or by a name such as `frame_000012.jpg`. Categories are matched by
    name with the labels of the task. An annotation without `score` has the score 1.

    Args:
        file: The file.
        info: The evaluated task.
        frames: The frames to evaluate.
        ignore_case: Ignore case when labels are matched.

    Raises:
        NothingToEvaluateError: It has no annotations on these frames, or no label of the task.
        ValueError: It cannot be read, or is not in COCO's format. The message names the annotation.
    """
    data = _read(file)
    numbers = _matching_frames(file, data["images"], info, frames)
    labels = _matching_labels(data["categories"], info.labels, ignore_case)
    categories = {category["id"]: category for category in data["categories"]}
    names = {key: str(category["name"]) for key, category in categories.items()}
    found, unknown, crowds = FrameAnnotations(), Counter[str](), 0
    for place, item in enumerate(data["annotations"]):
        try:
            frame = numbers.get(item["image_id"])
            name = names[item["category_id"]]
            if frame is None:
                continue
            if item["category_id"] not in labels:
                unknown[name] += 1
            elif item.get("iscrowd"):
                crowds += 1
            else:
                category = categories[item["category_id"]]
                found.shapes.add(_shape(item, frame, labels[item["category_id"]], category))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"annotation {place} of {file} cannot be read: {reason}") from None
    if not found:
        own, theirs = quoted_list([label.name for label in info.labels]), quoted_list(list(names.values()))
        raise NothingToEvaluateError(
            f"{file} has no annotations with a label of task {info.task.id} on the"
            f" {pluralize(len(frames), 'frame')} to evaluate: it has the labels {theirs}, and the task {own}"
        )
    missing = frozenset(frame.number for frame in frames) - {frame.number for frame in numbers.values()}
    left_out = {f"annotations of label {name!r} of {file.name}": count for name, count in unknown.items()}
    left_out |= {f"crowds of {file.name}": crowds} if crowds else {}
    left_out |= {f"frames that {file.name} does not have": len(missing)} if missing else {}
    return Predictions(file.name, found, missing=missing, left_out=left_out)


def _read(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read as JSON: {error}") from None
    wanted = ("images", "categories", "annotations")
    if not isinstance(data, dict) or not all(_is_list_of_objects(data.get(key)) for key in wanted):
        raise ValueError(
            f"{file} is not in COCO's format: expected an object with 'images', 'categories' and"
            " 'annotations'. A list of results alone names neither images nor labels"
        )
    for key, field in (("images", "file_name"), ("categories", "name")):
        for place, item in enumerate(data[key]):
            if "id" not in item or field not in item:
                raise ValueError(f"{key}[{place}] of {file} needs 'id' and {field!r}")
    return data


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _matching_frames(
    file: Path, images: Sequence[Mapping[str, Any]], info: TaskInfo, frames: Sequence[Frame]
) -> dict[Any, Frame]:
    """The frames by the ids of their images.

    Raises:
        NothingToEvaluateError: No image is a frame.
        ValueError: Two images are the same frame, or an image has another size than its frame.
    """
    is_video = info.task.mode == "interpolation"
    known = dict(_keys_of_frames(frames, is_video))
    matching: dict[Any, Frame] = {}
    images_of: dict[int, Mapping[str, Any]] = {}
    for image in images:
        key = _video_frame(image) if is_video else str(image["file_name"])
        frame = known.get(key)
        if frame is None and not is_video:
            frame = known.get(PurePosixPath(str(key)).name)
        if frame is None:
            continue
        if frame.number in images_of:
            one, other = images_of[frame.number]["file_name"], image["file_name"]
            raise ValueError(f"{file} has two images of {frame}: {one!r} and {other!r}")
        size = (image.get("width", frame.width), image.get("height", frame.height))
        if size != (frame.width, frame.height):
            raise ValueError(
                f"{image['file_name']!r} of {file} has {size[0]}x{size[1]} pixels, but {frame} has"
                f" {frame.width}x{frame.height}; it must have the same images"
            )
        images_of[frame.number] = image
        matching[image["id"]] = frame
    if not matching:
        raise NothingToEvaluateError(
            f"{file} has none of the {pluralize(len(frames), 'frame')} of task {info.task.id} to evaluate;"
            " images are matched by their 'file_name'"
        )
    return matching


def _keys_of_frames(frames: Sequence[Frame], is_video: bool) -> Iterator[tuple[Any, Frame]]:
    if is_video:
        yield from ((frame.number, frame) for frame in frames)
        return
    last_parts = Counter(PurePosixPath(frame.name).name for frame in frames)
    for frame in frames:  # first the short names, so that a full name takes precedence
        if last_parts[PurePosixPath(frame.name).name] == 1:
            yield PurePosixPath(frame.name).name, frame
    yield from ((frame.name, frame) for frame in frames)


def _video_frame(image: Mapping[str, Any]) -> int | None:
    if isinstance(image.get("frame"), int):
        return int(image["frame"])
    found = _FRAME_OF_VIDEO.match(PurePosixPath(str(image["file_name"])).name)
    return int(found[1]) if found else None


def _matching_labels(
    categories: Sequence[Mapping[str, Any]], labels: Sequence[Label], ignore_case: bool
) -> dict[Any, Label]:
    def key(name: str) -> str:
        return name.casefold() if ignore_case else name

    by_name = {key(label.name): label for label in labels}
    return {
        category["id"]: by_name[key(str(category["name"]))]
        for category in categories
        if key(str(category["name"])) in by_name
    }


def _shape(
    item: Mapping[str, Any], frame: Frame, label: Label, category: Mapping[str, Any]
) -> dict[str, Any]:
    """An annotation as a shape, in the server's format."""
    score = item.get("score")
    own = {"frame": frame.number, "label_id": label.id, "source": "auto"}
    own |= {"score": 1.0 if score is None else float(score), "rotation": 0.0, "attributes": []}
    if item.get("keypoints") and label.sublabels:
        return own | {"type": "skeleton", "points": [], "elements": _elements(item, label, category)}
    segmentation = item.get("segmentation")
    if isinstance(segmentation, list) and len(segmentation) == 1:
        return own | {"type": "polygon", "points": [float(number) for number in segmentation[0]]}
    if segmentation:
        return own | {"type": "mask", "points": _mask_points(segmentation, frame)}
    left, top, width, height = (float(number) for number in item["bbox"])
    return own | {"type": "rectangle", "points": [left, top, left + width, top + height]}


def _mask_points(segmentation: Any, frame: Frame) -> list[float]:
    from faster_coco_eval import mask  # imports OpenCV where there is one

    size = frame.height, frame.width
    if isinstance(segmentation, list):
        encoded = mask.merge(mask.frPyObjects(segmentation, *size))
    elif isinstance(segmentation["counts"], list):
        encoded = mask.frPyObjects(segmentation, *size)
    else:
        encoded = segmentation
    if tuple(encoded["size"]) != size:
        raise ValueError(f"its mask has the size {list(encoded['size'])}, not {list(size)}")
    bitmap = mask.decode(encoded).astype(bool)
    if not bitmap.any():
        raise ValueError("its mask has no pixels")
    return list(encode_mask(bitmap))


def _elements(item: Mapping[str, Any], label: Label, category: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The elements of a skeleton; keypoints of other names are left out."""
    sublabels = {sublabel.name: sublabel.id for sublabel in label.sublabels}
    names = category.get("keypoints") or ()
    points = [float(number) for number in item["keypoints"]]
    if len(points) != 3 * len(names):
        raise ValueError(f"it has {len(points)} numbers for {len(names)} keypoints of 3 numbers each")
    return [
        {
            "type": "points",
            "label_id": sublabels[name],
            "points": [x, y],
            "outside": not visibility,
            "occluded": visibility == 1,
        }
        for name, x, y, visibility in zip(names, points[0::3], points[1::3], points[2::3], strict=True)
        if name in sublabels
    ]
