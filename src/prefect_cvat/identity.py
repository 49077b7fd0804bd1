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
    """A digest of all that a tag or a shape says, equal for what was sent and what is read back.

    Coordinates count to a thousandth of a pixel, scores to a millionth; ids do not count, nor does
    what the server adds by itself.
    """
    return blake2b(to_json(_content(annotation, defaults)), digest_size=12).digest()


def _content(annotation: Mapping[str, Any], defaults: AttributeDefaults) -> list[Any]:
    label_id = annotation["label_id"]
    content: list[Any] = [
        annotation["frame"],
        label_id,
        annotation.get("source"),
        annotation.get("type"),
        annotation.get("group") or 0,
    ]
    attributes = {item["spec_id"]: item["value"] for item in annotation.get("attributes") or ()}
    if attributes or label_id in defaults:
        content.append(sorted(({**defaults.get(label_id, {}), **attributes}).items()))
    if annotation.get("type") is None:  # a tag
        return content
    content += (
        [round(float(number), 3) for number in annotation.get("points") or ()],
        round(float(annotation.get("score", 1.0)), 6),
        round(float(annotation.get("rotation", 0.0)), 3),
        bool(annotation.get("occluded")),
        bool(annotation.get("outside")),
        annotation.get("z_order") or 0,
    )
    # CVAT gives the elements of a skeleton in any order, and may write or leave out their source
    elements = [
        _content({**element, "source": None}, defaults) for element in annotation.get("elements") or ()
    ]
    if elements:
        content.append(sorted(elements, key=lambda element: element[1]))
    return content
