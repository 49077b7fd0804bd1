"""When two annotations are the same one, told twice.

CVAT numbers what it stores, but a client that lost the answer has no number to ask for. What an
annotation says is all there is to know it by.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from pydantic_core import to_json

from prefect_cvat.models import Label, Sublabel

__all__ = ["AttributeDefaults", "attribute_defaults", "identity"]

AttributeDefaults = Mapping[int, Mapping[int, str]]
"""The default attribute values by label (or sublabel) id and attribute id."""


def attribute_defaults(labels: tuple[Label, ...]) -> dict[int, dict[int, str]]:
    """The attribute values that CVAT fills in by itself (on reading, not in the answer to a write)."""
    owners: list[Sublabel] = [owner for label in labels for owner in (label, *label.sublabels)]
    return {
        owner.id: {attribute.id: attribute.default_value or "" for attribute in owner.attributes}
        for owner in owners
        if owner.attributes
    }


def identity(annotation: Mapping[str, Any], defaults: AttributeDefaults) -> bytes:
    """A digest of all that a tag, a shape or a track says, equal for what was sent and what is read back.

    A track is known by its `shapes`. Coordinates count to a thousandth of a pixel, scores to a millionth;
    ids do not count, nor does what the server adds by itself.
    """
    content = _track_content if "shapes" in annotation else _content
    return blake2b(to_json(content(annotation, defaults)), digest_size=12).digest()


def _content(annotation: Mapping[str, Any], defaults: AttributeDefaults) -> list[Any]:
    label_id = annotation["label_id"]
    content: list[Any] = [
        annotation["frame"],
        label_id,
        annotation.get("source"),
        annotation.get("type"),
        annotation.get("group") or 0,
    ]
    attributes = _values(annotation)
    if attributes or label_id in defaults:
        content.append(sorted(({**defaults.get(label_id, {}), **attributes}).items()))
    if annotation.get("type") is None:  # a tag
        return content
    content += (*_geometry(annotation), round(float(annotation.get("score", 1.0)), 6))
    # CVAT gives the elements of a skeleton in any order, and may write or leave out their source
    elements = [
        _content({**element, "source": None}, defaults) for element in annotation.get("elements") or ()
    ]
    if elements:
        content.append(sorted(elements, key=lambda element: element[1]))
    return content


def _track_content(track: Mapping[str, Any], defaults: AttributeDefaults) -> list[Any]:
    """What a track or an element of one says.

    Its own `frame` is that of its first keyframe, and says nothing more; its keyframes have no score.
    """
    # CVAT 2.73 takes an attribute that a keyframe leaves out from the one before, and only for the
    # first from the defaults. Those that cannot change stand on the track, all others on keyframes.
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
    return (
        [round(float(number), 3) for number in shape.get("points") or ()],
        round(float(shape.get("rotation") or 0.0), 3),
        bool(shape.get("occluded")),
        bool(shape.get("outside")),
        shape.get("z_order") or 0,
    )
