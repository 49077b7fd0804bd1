"""Digests of annotations, to recognize an annotation that was sent in what the server has stored.

CVAT returns the ids of stored annotations in its response. If the response is lost, an annotation can only be
recognized by its content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

from prefect_cvat.models import Label, Sublabel

__all__ = ["AttributeDefaults", "attribute_defaults", "content_digest"]

AttributeDefaults = Mapping[int, Mapping[int, str]]
"""The default attribute values by label (or sublabel) id and attribute id."""


def attribute_defaults(labels: tuple[Label, ...]) -> dict[int, dict[int, str]]:
    """The default attribute values, which CVAT adds on reading but not in the response to a write."""
    owners: list[Sublabel] = [owner for label in labels for owner in (label, *label.sublabels)]
    return {
        owner.id: {attribute.id: attribute.default_value or "" for attribute in owner.attributes}
        for owner in owners
        if owner.attributes
    }


def content_digest(annotation: Mapping[str, Any], defaults: AttributeDefaults) -> bytes:
    """The digest of an annotation's content, equal for the annotation as sent and as stored by the server.

    Coordinates are rounded to 0.001 pixels, scores to 0.000001. Ids and fields that the server adds are
    ignored.

    Args:
        annotation: A tag, a shape or a track (which has `shapes`), as a JSON object.
        defaults: The default attribute values, see `attribute_defaults`.

    Returns:
        12 bytes.
    """
    content = _track_content if "shapes" in annotation else _content
    return blake2b(to_json(content(annotation, defaults)), digest_size=12).digest()


def _content(annotation: Mapping[str, Any], defaults: AttributeDefaults) -> list[Any]:
    get = annotation.get
    label_id = annotation["label_id"]
    kind = get("type")
    content: list[Any] = [annotation["frame"], label_id, get("source"), kind, get("group") or 0]
    if get("attributes") or label_id in defaults:
        content.append(sorted(({**defaults.get(label_id, {}), **_values(annotation)}).items()))
    if kind is None:  # a tag
        return content
    content += (*_geometry(annotation), round(float(get("score", 1.0)), 6))
    if elements := get("elements"):
        # CVAT returns the elements of a skeleton in any order, with or without their source
        parts = [_content({**element, "source": None}, defaults) for element in elements]
        content.append(sorted(parts, key=lambda part: part[1]))
    return content


def _track_content(track: Mapping[str, Any], defaults: AttributeDefaults) -> list[Any]:
    """The content of a track or of one of its elements.

    Its own `frame` is the frame of its first keyframe. Keyframes have no score.
    """
    # CVAT 2.73 copies an attribute that a keyframe does not have from the previous keyframe, and on the first
    # one from the defaults. Immutable attributes are fields of the track, all others of its keyframes.
    attributes = {**defaults.get(track["label_id"], {}), **_values(track)}
    shapes: list[Any] = []
    for shape in sorted(track["shapes"], key=lambda shape: int(shape["frame"])):
        attributes |= _values(shape)
        shapes.append([shape["frame"], shape["type"], *_geometry(shape), sorted(attributes.items())])
    elements = [
        _track_content({**element, "source": None, "group": 0}, defaults)
        for element in track.get("elements") or ()
    ]
    return [
        "track",
        track["label_id"],
        track.get("source"),
        track.get("group") or 0,
        shapes,
        sorted(elements, key=lambda element: int(element[1])),
    ]


def _values(owner: Mapping[str, Any]) -> dict[int, str]:
    return {item["spec_id"]: item["value"] for item in owner.get("attributes") or ()}


def _geometry(shape: Mapping[str, Any]) -> tuple[Any, ...]:
    get = shape.get
    return (
        _rounded(get("points") or ()),
        round(float(rotation), 3) if (rotation := get("rotation")) else 0.0,
        bool(get("occluded")),
        bool(get("outside")),
        get("z_order") or 0,
    )


def _rounded(points: Sequence[float]) -> list[float]:
    """Coordinates as `round(number, 3)` gives them, in half the time: digests in records stay the same."""
    try:
        return [
            nearest / 1000.0
            # 1000 times a number is not exact: it is too near to the middle of two, or its sign may be lost
            if -0.4999 < (scaled := 1000.0 * number) - (nearest := round(scaled)) < 0.4999
            and 0 < nearest < 1e9
            else round(1.0 * number, 3)
            for number in points
        ]
    except (OverflowError, ValueError):  # not finite, or infinite if scaled
        return [round(1.0 * number, 3) for number in points]
