"""From a function's labels to a task's labels.

The mapping is built and checked completely before the first image is fetched; all that does not fit
is told at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.models import Attribute, Label, Sublabel, enum_value

__all__ = ["LabelMap", "LabelMapEntry", "LabelMapping", "LabelTarget", "SublabelTarget", "build_mapping"]


class LabelMapEntry(BaseModel):
    """Where one label (or sublabel) of the function goes.

    Attributes:
        name: The label of the task; None drops what the function finds of this label.
        sublabels: The same for its keypoints, by name; None: each to the one of the same name.
        attributes: From attribute names of the function to those of the task; None drops the
            attribute. Without it, each goes to the one of the same name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None
    sublabels: dict[str, str | LabelMapEntry | None] | None = Field(default=None)
    attributes: dict[str, str | None] | None = Field(default=None)


LabelMap = Mapping[str, str | LabelMapEntry | None]
"""From label names of the function to label names of the task; None drops a label.

Labels that it does not name go to the task's label of the same name.
"""


@dataclass(frozen=True, slots=True)
class SublabelTarget:
    """Where a sublabel goes: the task's sublabel, and its attributes by the function's attribute ids."""

    id: int
    name: str
    attributes: dict[int, int | None]


@dataclass(frozen=True, slots=True)
class LabelTarget:
    """Where a label goes.

    Attributes:
        id: The task's label.
        name: Its name.
        type: The type that annotations of it must have, or `any`.
        attributes: From attribute ids of the function to those of the task; None drops the attribute.
        sublabels: The same for keypoints.
        sublabel_ids: All sublabels that the task's label has: a skeleton must have each.
    """

    id: int
    name: str
    type: str
    attributes: dict[int, int | None]
    sublabels: dict[int, SublabelTarget | None]
    sublabel_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class LabelMapping:
    """From label ids of the function to labels of the task.

    Attributes:
        targets: By label id of the function; None drops what is found of that label.
        names: The function's own label names, by id.
        unmatched: What the function can find and the task has no place for, in words.
    """

    targets: dict[int, LabelTarget | None]
    names: dict[int, str]
    unmatched: tuple[str, ...] = ()

    def by_name(self) -> dict[str, str | None]:
        """The names of the task's labels, by those of the function's; None for what is dropped."""
        return {
            self.names[label_id]: None if target is None else target.name
            for label_id, target in self.targets.items()
        }


@dataclass
class _Problems:
    """What does not fit, collected: `fatal` in any case, `unmatched` unless that is allowed."""

    fatal: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


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
        label_map: Where labels go whose names differ; several may go to one.
        allow_unmatched_labels: Drop what the task has no place for, instead of refusing.
        conv_mask_to_poly: The function returns polygons where its spec says masks.
        ignore_case: Match names without regard to upper and lower case.
        task_name: What to call the task in messages.

    Raises:
        BadFunctionError: Labels, sublabels or attributes do not match; it names all of them.
    """
    problems = _Problems()
    names = _Names(ignore_case)
    entries = {name: _entry(target) for name, target in (label_map or {}).items()}
    spec_names = [label.name for label in spec_labels]
    for name in names.missing(entries, spec_names):
        problems.fatal.append(
            f"label_map speaks of label {name!r}, which the function does not have"
            f"{_suggestion(name, spec_names)}"
        )
    targets: dict[int, LabelTarget | None] = {}
    for label in spec_labels:
        entry = names.find(label.name, entries)
        if entry is not None and entry.name is None:
            targets[label.id] = None
            continue
        wanted = label.name if entry is None else entry.name
        task_label = names.find(wanted, {task_label.name: task_label for task_label in task_labels})
        if task_label is None:
            problems.unmatched.append(
                f"label {wanted!r} is not in {task_name}"
                f"{_suggestion(wanted, [task_label.name for task_label in task_labels])}"
            )
            targets[label.id] = None
            continue
        if enum_value(getattr(label, "type", None) or "any") == "skeleton" and not task_label.sublabels:
            problems.unmatched.append(
                f"label {label.name!r} is a skeleton in the function, but label {task_label.name!r} has no"
                f" keypoints in {task_name}"
            )
            targets[label.id] = None
            continue
        targets[label.id] = _label_target(label, task_label, entry, names, conv_mask_to_poly, problems)
    if problems.fatal or (problems.unmatched and not allow_unmatched_labels):
        raise BadFunctionError(_explain(problems, allow_unmatched_labels))
    return LabelMapping(
        targets=targets,
        names={label.id: label.name for label in spec_labels},
        unmatched=tuple(problems.unmatched),
    )


def _label_target(
    label: Any,
    task_label: Label,
    entry: LabelMapEntry | None,
    names: _Names,
    conv_mask_to_poly: bool,
    problems: _Problems,
) -> LabelTarget:
    where = f"label {label.name!r}"
    label_type = enum_value(getattr(label, "type", None) or "any")
    if conv_mask_to_poly and label_type == "mask":
        label_type = "polygon"
    if label_type != "any" and task_label.type not in ("any", label_type):
        problems.fatal.append(
            f"{where} is of type {label_type!r} in the function, but of type {task_label.type!r} in the task"
        )
    expected = task_label.type if label_type == "any" else label_type
    task_sublabels = {sublabel.name: sublabel for sublabel in task_label.sublabels}
    spec_sublabels = getattr(label, "sublabels", None) or []
    entries = {name: _entry(target) for name, target in ((entry and entry.sublabels) or {}).items()}
    for name in names.missing(entries, [sublabel.name for sublabel in spec_sublabels]):
        problems.fatal.append(f"label_map speaks of sublabel {name!r} of {where}, which it does not have")
    sublabels: dict[int, SublabelTarget | None] = {}
    for sublabel in spec_sublabels:
        sublabel_entry = names.find(sublabel.name, entries)
        if sublabel_entry is not None and sublabel_entry.name is None:
            sublabels[sublabel.id] = None
            continue
        wanted = sublabel.name if sublabel_entry is None else sublabel_entry.name
        task_sublabel = names.find(wanted, task_sublabels)
        if task_sublabel is None:
            problems.unmatched.append(
                f"sublabel {wanted!r} of {where} is not in the task"
                f"{_suggestion(wanted, list(task_sublabels))}"
            )
            sublabels[sublabel.id] = None
            continue
        sublabels[sublabel.id] = SublabelTarget(
            id=task_sublabel.id,
            name=task_sublabel.name,
            attributes=_attributes(
                sublabel,
                task_sublabel,
                sublabel_entry,
                names,
                f"sublabel {sublabel.name!r} of {where}",
                problems,
            ),
        )
    return LabelTarget(
        id=task_label.id,
        name=task_label.name,
        type=expected,
        attributes=_attributes(label, task_label, entry, names, where, problems),
        sublabels=sublabels,
        sublabel_ids=frozenset(sublabel.id for sublabel in task_label.sublabels),
    )


def _attributes(
    owner: Any,
    task_owner: Label | Sublabel,
    entry: LabelMapEntry | None,
    names: _Names,
    where: str,
    problems: _Problems,
) -> dict[int, int | None]:
    task_attributes = {attribute.name: attribute for attribute in task_owner.attributes}
    spec_attributes = getattr(owner, "attributes", None) or []
    renamed = (entry and entry.attributes) or {}
    for name in names.missing(renamed, [attribute.name for attribute in spec_attributes]):
        problems.fatal.append(f"label_map speaks of attribute {name!r} of {where}, which it does not have")
    targets: dict[int, int | None] = {}
    for attribute in spec_attributes:
        targets[attribute.id] = None
        if names.contains(attribute.name, renamed):
            wanted = names.find(attribute.name, renamed)
            if wanted is None:
                continue
        else:
            wanted = attribute.name
        task_attribute = names.find(wanted, task_attributes)
        if task_attribute is None:
            problems.unmatched.append(
                f"attribute {wanted!r} of {where} is not in the task"
                f"{_suggestion(wanted, list(task_attributes))}"
            )
        elif problem := _attribute_problem(attribute, task_attribute):
            problems.fatal.append(f"attribute {attribute.name!r} of {where} {problem}")
        else:
            targets[attribute.id] = task_attribute.id
    return targets


def _attribute_problem(attribute: Any, task_attribute: Attribute) -> str | None:
    input_type = enum_value(attribute.input_type)
    if input_type != task_attribute.input_type:
        theirs = task_attribute.input_type.value
        return f"has input type {input_type!r} in the function, but {theirs!r} in the task"
    values, task_values = list(attribute.values), task_attribute.values
    match input_type:
        case "text" | "checkbox":
            fits = True
        case "number":
            fits = values == task_values
        case _:
            fits = sorted(values) == sorted(task_values)
    return None if fits else f"has the values {values!r} in the function, but {task_values!r} in the task"


class _Names:
    """How names are compared."""

    def __init__(self, ignore_case: bool) -> None:
        self._key: Callable[[str], str] = str.casefold if ignore_case else str

    def find(self, name: str, items: Mapping[str, Any]) -> Any:
        """The item of this name: exactly this one if there is, else one that compares equal."""
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


def _suggestion(name: str, names: Sequence[str]) -> str:
    by_key = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), list(by_key), n=1)
    return f"; did you mean {by_key[close[0]]!r}?" if close else ""


def _explain(problems: _Problems, allow_unmatched_labels: bool) -> str:
    unmatched = [] if allow_unmatched_labels else problems.unmatched
    lines = [*problems.fatal, *unmatched]
    mend = " Map them with label_map, or pass allow_unmatched_labels=True to drop them." if unmatched else ""
    if len(lines) == 1:
        return f"the function does not fit the task: {lines[0]}.{mend}"
    listed = "".join(f"\n  - {line}" for line in lines)
    return f"the function does not fit the task in {len(lines)} points:{listed}\n{mend.strip()}".rstrip()
