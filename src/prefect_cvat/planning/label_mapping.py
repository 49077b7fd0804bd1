"""Maps a function's labels to a task's labels.

The mapping is built and checked before the first image is fetched. One error lists all mismatches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.messages.suggestions import did_you_mean
from prefect_cvat.models import Label, Sublabel
from prefect_cvat.options.label_and_threshold_options import LabelMap, LabelMapEntry
from prefect_cvat.planning.mismatch_messages import LabelMismatches, output_type

__all__ = ["LabelMapping", "LabelTarget", "SublabelTarget", "build_mapping"]


@dataclass(frozen=True, slots=True)
class SublabelTarget:
    """A sublabel of the task, and its attribute ids by attribute ids of the function."""

    id: int
    name: str
    attributes: dict[int, int | None]


@dataclass(frozen=True, slots=True)
class LabelTarget:
    """The task's label for a label of the function.

    Attributes:
        id: Id of the task's label.
        name: Its name.
        type: The required type of its annotations, or `any`.
        attributes: Attribute ids of the task by those of the function; None drops the attribute.
        sublabels: The task's sublabels by sublabel ids of the function; None drops the keypoint.
        sublabel_ids: Ids of all sublabels of the task's label: a skeleton must have each of them.
    """

    id: int
    name: str
    type: str
    attributes: dict[int, int | None]
    sublabels: dict[int, SublabelTarget | None]
    sublabel_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class LabelMapping:
    """The mapping of a function's labels to a task's labels.

    Attributes:
        targets: Labels of the task by label id of the function; None drops detections of that label.
        names: The function's label names by id.
        unmatched: Labels and attributes that the task does not have, such as `label 'boat'`.
    """

    targets: dict[int, LabelTarget | None]
    names: dict[int, str]
    unmatched: tuple[str, ...] = ()

    def by_name(self) -> dict[str, str | None]:
        """Label names of the task by label names of the function; None for dropped labels."""
        return {
            self.names[label_id]: None if target is None else target.name
            for label_id, target in self.targets.items()
        }


def build_mapping(
    spec_labels: Sequence[Any],
    task_labels: Sequence[Label],
    *,
    label_map: LabelMap | None = None,
    allow_unmatched_labels: bool = False,
    conv_mask_to_poly: bool = False,
    ignore_case: bool = False,
    task_name: str = "the task",
) -> LabelMapping:
    """Match the labels of a function's spec with those of a task.

    Args:
        spec_labels: The labels of the function's spec.
        task_labels: The labels of the task.
        label_map: Labels of the task by labels of the function, for different names; several may map to one.
        allow_unmatched_labels: Drop labels that the task does not have, instead of failing.
        conv_mask_to_poly: The function returns polygons for labels of type mask.
        ignore_case: Ignore case when names are matched.
        task_name: The name of the task in messages.

    Raises:
        BadFunctionError: Labels, sublabels or attributes do not match; the message lists all of them.
    """
    mismatches = LabelMismatches()
    names = _Names(ignore_case)
    entries = {name: _entry(target) for name, target in (label_map or {}).items()}
    spec_names = [label.name for label in spec_labels]
    for name in names.missing(entries, spec_names):
        mismatches.refuse(
            f"{argument('label_map')} names label {name!r}, which the function does not have"
            f"{did_you_mean(name, spec_names)}"
        )
    by_name = {task_label.name: task_label for task_label in task_labels}
    targets: dict[int, LabelTarget | None] = {}
    for label in spec_labels:
        targets[label.id] = None
        entry = names.find(label.name, entries)
        if entry is not None and entry.name is None:
            continue
        wanted = label.name if entry is None else entry.name
        task_label = names.find(wanted, by_name)
        if task_label is None:
            mismatches.miss(f"label {label.name!r}", wanted, label.name, list(by_name))
        else:
            targets[label.id] = _label_target(label, task_label, entry, names, conv_mask_to_poly, mismatches)
    mismatches.raise_if_any(task_name, allow_unmatched_labels=allow_unmatched_labels)
    return LabelMapping(
        targets=targets,
        names={label.id: label.name for label in spec_labels},
        unmatched=tuple(mismatches.unmatched),
    )


def _label_target(
    label: Any,
    task_label: Label,
    entry: LabelMapEntry | None,
    names: _Names,
    conv_mask_to_poly: bool,
    mismatches: LabelMismatches,
) -> LabelTarget | None:
    where = f"label {label.name!r}"
    label_type = output_type(label, conv_mask_to_poly)
    # in the order of the SDK: attributes, sublabels, type
    attributes = _attributes(label, task_label, entry, names, where, mismatches)
    spec_sublabels = getattr(label, "sublabels", None) or []
    if label_type == "skeleton" and not task_label.sublabels:
        first = "".join(
            f"sublabel {each.name!r} of {where} is not in dataset, where " for each in spec_sublabels[:1]
        )
        mismatches.drop(where, f"{first}label {task_label.name!r} has no sublabels")
        mismatches.check_type(where, label_type, task_label)
        return None
    sublabels = _sublabels(spec_sublabels, task_label, entry, names, where, mismatches)
    mismatches.check_type(where, label_type, task_label)
    if label_type == "skeleton":
        mismatches.check_keypoints(
            where,
            [sublabel.name for sublabel in task_label.sublabels],
            [(each.name, target.name) for each in spec_sublabels if (target := sublabels[each.id])],
        )
    return LabelTarget(
        id=task_label.id,
        name=task_label.name,
        type=task_label.type if label_type == "any" else label_type,
        attributes=attributes,
        sublabels=sublabels,
        sublabel_ids=frozenset(sublabel.id for sublabel in task_label.sublabels),
    )


def _sublabels(
    spec_sublabels: Sequence[Any],
    task_label: Label,
    entry: LabelMapEntry | None,
    names: _Names,
    where: str,
    mismatches: LabelMismatches,
) -> dict[int, SublabelTarget | None]:
    by_name = {sublabel.name: sublabel for sublabel in task_label.sublabels}
    entries = {name: _entry(target) for name, target in ((entry and entry.sublabels) or {}).items()}
    for name in names.missing(entries, [sublabel.name for sublabel in spec_sublabels]):
        mismatches.refuse(
            f"{argument('label_map')} names sublabel {name!r} of {where}, which it does not have"
        )
    targets: dict[int, SublabelTarget | None] = {}
    for sublabel in spec_sublabels:
        targets[sublabel.id] = None
        sublabel_entry = names.find(sublabel.name, entries)
        if sublabel_entry is not None and sublabel_entry.name is None:
            continue
        what = f"sublabel {sublabel.name!r} of {where}"
        wanted = sublabel.name if sublabel_entry is None else sublabel_entry.name
        task_sublabel = names.find(wanted, by_name)
        if task_sublabel is None:
            mismatches.miss(what, wanted, sublabel.name, list(by_name))
        else:
            targets[sublabel.id] = SublabelTarget(
                id=task_sublabel.id,
                name=task_sublabel.name,
                attributes=_attributes(sublabel, task_sublabel, sublabel_entry, names, what, mismatches),
            )
    return targets


def _attributes(
    owner: Any,
    task_owner: Label | Sublabel,
    entry: LabelMapEntry | None,
    names: _Names,
    where: str,
    mismatches: LabelMismatches,
) -> dict[int, int | None]:
    by_name = {attribute.name: attribute for attribute in task_owner.attributes}
    spec_attributes = getattr(owner, "attributes", None) or []
    renamed = (entry and entry.attributes) or {}
    for name in names.missing(renamed, [attribute.name for attribute in spec_attributes]):
        mismatches.refuse(
            f"{argument('label_map')} names attribute {name!r} of {where}, which it does not have"
        )
    targets: dict[int, int | None] = {}
    for attribute in spec_attributes:
        targets[attribute.id] = None
        is_renamed = names.contains(attribute.name, renamed)
        wanted = names.find(attribute.name, renamed) if is_renamed else attribute.name
        if wanted is None:
            continue
        what = f"attribute {attribute.name!r} of {where}"
        task_attribute = names.find(wanted, by_name)
        if task_attribute is None:
            mismatches.miss(what, wanted, attribute.name, list(by_name))
        elif mismatches.check_attribute(what, attribute, task_attribute):
            targets[attribute.id] = task_attribute.id
    return targets


class _Names:
    """Compares names, with or without case."""

    def __init__(self, ignore_case: bool) -> None:
        self._key: Callable[[str], str] = str.casefold if ignore_case else str

    def find(self, name: str, items: Mapping[str, Any]) -> Any:
        """The item with exactly this name, or else one whose name is equal except for case."""
        if name in items:
            return items[name]
        return next((item for other, item in items.items() if self._key(other) == self._key(name)), None)

    def contains(self, name: str, items: Collection[str]) -> bool:
        return any(self._key(other) == self._key(name) for other in items)

    def missing(self, names: Collection[str], among: Collection[str]) -> list[str]:
        return [name for name in names if not self.contains(name, among)]


def _entry(target: str | LabelMapEntry | Mapping[str, Any] | None) -> LabelMapEntry:
    if isinstance(target, LabelMapEntry):
        return target
    if isinstance(target, Mapping):
        return LabelMapEntry.model_validate(target)
    return LabelMapEntry(name=target)
