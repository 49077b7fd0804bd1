"""The JSON of annotations, and of requests that add or delete them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from pydantic_core import to_json

from prefect_cvat.models import LabeledData, ShapeType, SubLabeledShapeRequest

__all__ = [
    "SerializedAnnotation",
    "ServerAnnotation",
    "each_annotation",
    "frames_of",
    "json_size",
    "kind_of",
    "request_body",
    "request_length",
    "serialize",
    "shape_body",
]

ServerAnnotation: TypeAlias = tuple[str, dict[str, Any]]
"""The kind of an annotation (`tags`, `shapes` or `tracks`), and the JSON object that the server returned."""


class SerializedAnnotation(NamedTuple):
    """A tag, a shape or a track as JSON, made once and then only copied into files and requests.

    Attributes:
        kind: `tags`, `shapes` or `tracks`.
        frame: The number of its frame; of a track, that of its first keyframe.
        json: The JSON object.
    """

    kind: str
    frame: int
    json: bytes


def each_annotation(data: LabeledData) -> Iterator[ServerAnnotation]:
    """The tags, shapes and tracks, each with the name of its kind."""
    for tag in data.tags:
        yield "tags", tag
    for shape in data.shapes:
        yield "shapes", shape
    for track in data.tracks:
        yield "tracks", track


def frames_of(annotation: Mapping[str, Any]) -> set[int]:
    """The frame numbers of an annotation; of a track, those of its keyframes."""
    frames = {annotation["frame"]}
    for track in (annotation, *(annotation.get("elements") or ())):
        frames.update(shape["frame"] for shape in track.get("shapes") or ())
    return frames


def kind_of(annotation: Mapping[str, Any]) -> str:
    """The kind of an annotation by its fields: `tags`, `shapes` or `tracks`."""
    if "shapes" in annotation:
        return "tracks"
    return "shapes" if "type" in annotation else "tags"


def serialize(annotation: Mapping[str, Any]) -> SerializedAnnotation:
    """The JSON of a tag, a shape or a track."""
    return SerializedAnnotation(kind_of(annotation), annotation["frame"], to_json(annotation))


def request_body(part: Iterable[SerializedAnnotation]) -> bytes:
    """The JSON of a request that adds or deletes annotations."""
    by_kind: dict[str, list[bytes]] = {"tags": [], "shapes": [], "tracks": []}
    for annotation in part:
        by_kind[annotation.kind].append(annotation.json)
    lists = (b',"%b":[%b]' % (kind.encode(), b",".join(each)) for kind, each in by_kind.items())
    return b'{"version":0%b}' % b"".join(lists)


def json_size(annotation: Mapping[str, Any]) -> int:
    """An estimate of the size of an annotation as JSON, in bytes."""
    size = 300 + 20 * len(annotation.get("points") or ())
    for name in ("elements", "shapes"):  # `shapes` are those of a track
        for part in annotation.get(name) or ():
            size += json_size(part)
    return size


def request_length(annotations: Sequence[SerializedAnnotation], max_annotations: int, max_bytes: int) -> int:
    """The number of annotations, from the first on, that go into one request; at least one.

    The annotations of a frame go together, unless these alone are too many: the server executes a request as
    a whole or not at all, so a frame that has been annotated is annotated completely.

    Args:
        annotations: The annotations to send, at least one.
        max_annotations: Maximum number of annotations in a request.
        max_bytes: Maximum size of the JSON of a request in bytes.
    """
    size = 0
    whole_frames = 0
    for length, annotation in enumerate(annotations):
        if length and annotation.frame != annotations[length - 1].frame:
            whole_frames = length
        size += len(annotation.json)
        if length == max_annotations or (size > max_bytes and length):
            return whole_frames or length
    return len(annotations)


def shape_body(
    shape: SubLabeledShapeRequest, points: list[float], frame: int, label_id: int
) -> dict[str, Any]:
    """The server's JSON object for a shape of source `auto`, without attributes and elements.

    Args:
        shape: The shape, as a function returned it.
        points: Its points, clipped to the image.
        frame: The number of its frame.
        label_id: Its label in the task.
    """
    body: dict[str, Any] = {
        "type": str(shape.type),
        "frame": frame,
        "label_id": label_id,
        "source": "auto",
        "occluded": shape.occluded,
        "outside": shape.outside,
        "z_order": shape.z_order,
        "rotation": shape.rotation,
        "score": 1.0 if shape.score is None else shape.score,
    }
    if shape.type is not ShapeType.SKELETON:  # CVAT refuses a skeleton with points
        body["points"] = points
    if shape.group:
        body["group"] = shape.group
    return body
