"""What goes into one request that writes annotations: how many, and how they are put."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic_core import to_json

from prefect_cvat.models import LabeledData

__all__ = [
    "ServerAnnotation",
    "each_annotation",
    "frames_of",
    "json_size",
    "kind_of",
    "request_body",
    "request_length",
]

ServerAnnotation: TypeAlias = tuple[str, dict[str, Any]]
"""An annotation as it stands on the server, after its kind: `tags`, `shapes` or `tracks`."""


def each_annotation(data: LabeledData) -> Iterator[ServerAnnotation]:
    """The tags, shapes and tracks, each with the name of its kind."""
    for tag in data.tags:
        yield "tags", tag
    for shape in data.shapes:
        yield "shapes", shape
    for track in data.tracks:
        yield "tracks", track


def frames_of(annotation: Mapping[str, Any]) -> set[int]:
    """The frames that an annotation is on; of a track, those of its keyframes."""
    frames = {annotation["frame"]}
    for track in (annotation, *(annotation.get("elements") or ())):
        frames.update(shape["frame"] for shape in track.get("shapes") or ())
    return frames


def kind_of(annotation: Mapping[str, Any]) -> str:
    """`tags`, `shapes` or `tracks`: what an annotation is, by its fields."""
    if "shapes" in annotation:
        return "tracks"
    return "shapes" if "type" in annotation else "tags"


def request_body(part: Sequence[tuple[object, dict[str, Any]]]) -> bytes:
    """The JSON of a request that adds annotations."""
    body: dict[str, Any] = {"version": 0, "tags": [], "shapes": [], "tracks": []}
    for _, annotation in part:
        body[kind_of(annotation)].append(annotation)
    return to_json(body)


def json_size(annotation: Mapping[str, Any]) -> int:
    """About how many bytes the JSON of an annotation takes."""
    size = 300 + 20 * len(annotation.get("points") or ())
    for name in ("elements", "shapes"):  # `shapes` are those of a track
        for part in annotation.get(name) or ():
            size += json_size(part)
    return size


def request_length(annotations: Sequence[tuple[object, dict[str, Any]]], most: int, most_bytes: int) -> int:
    """How many of the annotations, from the first on, are to go into one request; one at least.

    What is on one frame goes together, unless that alone is too much: the server carries out a request whole
    or not at all, and so a frame that is annotated is annotated completely.
    """
    size = 0
    whole_frames = 0
    for length, (_, annotation) in enumerate(annotations):
        if length and annotation["frame"] != annotations[length - 1][1]["frame"]:
            whole_frames = length
        size += json_size(annotation)
        if length == most or (size > most_bytes and length):
            return whole_frames or length
    return len(annotations)
