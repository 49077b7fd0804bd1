"""The labels of a function as CVAT shows them: renamed, dropped or merged by the label map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import cos, pi, sin
from typing import Any

from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import PatchedLabelRequest, SublabelRequest, enum_value
from prefect_cvat.options.label_and_threshold_options import LabelMapEntry

__all__ = ["ShownLabel", "label_records", "shown_labels"]


@dataclass(frozen=True, slots=True)
class ShownLabel:
    """What a label or a sublabel of a function is called in CVAT.

    Attributes:
        name: Its name.
        attributes: The names of its attributes by their ids in the spec; those left out are dropped.
        sublabels: Its sublabels by their ids in the spec; those left out are dropped.
    """

    name: str
    attributes: dict[int, str] = field(default_factory=dict)
    sublabels: dict[int, ShownLabel] = field(default_factory=dict)


def shown_labels(
    labels: Sequence[PatchedLabelRequest], label_map: Mapping[str, Any] | None = None
) -> dict[int, ShownLabel]:
    """Apply a label map to the labels of a function.

    Args:
        labels: The labels of its spec.
        label_map: The names to show by the function's names; None for a name drops the label.

    Returns:
        The labels by id, without those that are dropped.

    Raises:
        ValueError: The map names a label, sublabel or attribute that the function does not have.
    """
    entries = {name: _entry(target) for name, target in (label_map or {}).items()}
    _check_names(entries, [str(label.name) for label in labels], "label", "the function")
    shown = {}
    for label in labels:
        assert label.id is not None
        if (each := _shown(label, entries.get(str(label.name)))) is not None:
            shown[label.id] = each
    return shown


def label_records(
    labels: Sequence[PatchedLabelRequest], shown: Mapping[int, ShownLabel]
) -> list[dict[str, Any]]:
    """The labels for a function's record, of which CVAT takes each name once.

    Labels that are shown under one name are merged: their attributes are joined, and their type is `any`
    if they have several.

    Raises:
        ValueError: A skeleton has the name of another label.
    """
    records: dict[str, dict[str, Any]] = {}
    for label in labels:
        if label.id is None or label.id not in shown:
            continue
        record = _record(label, shown[label.id])
        same = records.setdefault(record["name"], record)
        if same is record:
            continue
        if "skeleton" in (same["type"], record["type"]):
            raise ValueError(
                f"label_map shows a skeleton and another label as {record['name']!r}: give each its own name"
            )
        same["type"] = same["type"] if same["type"] == record["type"] else "any"
        names = {attribute["name"] for attribute in same["attributes"]}
        same["attributes"] += [each for each in record["attributes"] if each["name"] not in names]
    return list(records.values())


def _shown(label: PatchedLabelRequest | SublabelRequest, entry: LabelMapEntry | None) -> ShownLabel | None:
    if entry is not None and entry.name is None:
        return None
    what = f"label {label.name!r}"
    renamed = (entry and entry.attributes) or {}
    _check_names(renamed, [attribute.name for attribute in label.attributes], "attribute", what)
    attributes = {}
    for attribute in label.attributes:
        name = renamed.get(attribute.name, attribute.name)
        if name is not None and attribute.id is not None:
            attributes[attribute.id] = name
    sublabels = {}
    own = getattr(label, "sublabels", None) or []
    entries = {name: _entry(target) for name, target in ((entry and entry.sublabels) or {}).items()}
    _check_names(entries, [each.name for each in own], "sublabel", what)
    for sublabel in own:
        each = _shown(sublabel, entries.get(sublabel.name))
        if each is not None and sublabel.id is not None:
            sublabels[sublabel.id] = each
    name = str(label.name) if entry is None or entry.name is None else entry.name
    return ShownLabel(name, attributes, sublabels)


def _entry(target: Any) -> LabelMapEntry:
    if isinstance(target, LabelMapEntry):
        return target
    return LabelMapEntry.model_validate(target) if isinstance(target, Mapping) else LabelMapEntry(name=target)


def _check_names(named: Mapping[str, Any], existing: Sequence[str], what: str, owner: str) -> None:
    for name in named:
        if name not in existing:
            raise ValueError(
                f"label_map names {what} {name!r}, which {owner} does not have{did_you_mean(name, existing)}"
            )


def _record(label: PatchedLabelRequest | SublabelRequest, shown: ShownLabel) -> dict[str, Any]:
    attributes = {
        shown.attributes[attribute.id]: {
            "name": shown.attributes[attribute.id],
            "input_type": enum_value(attribute.input_type),
            "values": list(attribute.values),
        }
        for attribute in label.attributes
        if attribute.id in shown.attributes
    }
    record = {
        "name": shown.name,
        "type": enum_value(getattr(label, "type", None) or "any"),
        "attributes": list(attributes.values()),
    }
    if record["type"] == "skeleton":
        by_name = {
            shown.sublabels[each.id].name: _record(each, shown.sublabels[each.id])
            for each in getattr(label, "sublabels", ())
            if each.id in shown.sublabels
        }
        record["sublabels"] = list(by_name.values())
        record["svg"] = getattr(label, "svg", None) or _svg(list(by_name))
    return record


def _svg(names: Sequence[str]) -> str:
    """A picture of a skeleton whose spec has none: its keypoints in a ring, in percent."""
    nodes = []
    for index, name in enumerate(names):
        angle = 2 * pi * index / len(names)
        nodes.append(
            f'<circle r="1.5" stroke="black" fill="#b3b3b3" cx="{50 + 40 * sin(angle):.1f}"'
            f' cy="{50 - 40 * cos(angle):.1f}" stroke-width="0.1" data-type="element node"'
            f' data-element-id="{index + 1}" data-node-id="{index + 1}"'
            f' data-label-name="{escape(name)}"></circle>'
        )
    return "".join(nodes)
