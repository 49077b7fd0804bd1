"""The labels of a task, for functions that are made for a task.

A factory with the keyword parameter `task_labels` is called when the labels of the task are known::

    def create(*, task_labels: Sequence[TaskLabel], prompts: Prompts | None = None): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from prefect_cvat import models
from prefect_cvat.messages.bounded_text import one_line

__all__ = ["Prompts", "TaskLabel", "TaskLabelAttribute", "labels_of_task", "parse_labels"]

Prompts = Mapping[str, str | Sequence[str] | None]
"""What to look for, by label of the task: words, several wordings, or None to leave the label out."""


@dataclass(frozen=True)
class TaskLabelAttribute:
    """An attribute of a label of a task.

    Attributes:
        name: Its name.
        input_type: CVAT's: checkbox, radio, number, text or select.
        values: The values that it may have; of a number: least, greatest and step. Empty for a text.
        mutable: Whether it changes along a track.
        default_value: The value of a new annotation.
    """

    name: str
    input_type: str
    values: tuple[str, ...]
    mutable: bool
    default_value: str


@dataclass(frozen=True)
class TaskLabel:
    """A label of a task.

    Attributes:
        name: Its name.
        type: CVAT's: any, rectangle, polygon, polyline, points, ellipse, cuboid, skeleton, mask or tag.
        attributes: Its attributes, in CVAT's order.
        points: The names of a skeleton's points, in CVAT's order; empty for other types.
    """

    name: str
    type: str
    attributes: tuple[TaskLabelAttribute, ...] = ()
    points: tuple[str, ...] = ()


def labels_of_task(labels: Iterable[models.Label]) -> tuple[TaskLabel, ...]:
    """The labels of a task as a factory gets them.

    Args:
        labels: The labels as the server describes them.
    """
    return tuple(
        TaskLabel(
            name=label.name,
            type=label.type,
            attributes=tuple(
                TaskLabelAttribute(
                    name=attribute.name,
                    input_type=attribute.input_type.value,
                    values=tuple(attribute.values),
                    mutable=attribute.mutable,
                    default_value=attribute.default_value or "",
                )
                for attribute in label.attributes
            ),
            points=tuple(point.name for point in label.sublabels),
        )
        for label in labels
    )


def parse_labels(given: Any) -> tuple[TaskLabel, ...]:
    """Labels that are given where there is no task.

    Args:
        given: A sequence of labels: names, objects in the form of CVAT's label constructor, such as
            `{"name": "car", "type": "polygon"}`, or `TaskLabel`.

    Raises:
        ValueError: They are something else, or two have the same name.
    """
    if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
        expected = 'a list of labels, such as ["car", {"name": "bus", "type": "mask"}]'
        raise ValueError(f"{given!r} is not {expected}")  # noqa: TRY004
    labels: dict[str, TaskLabel] = {}
    for each in given:
        label = each if isinstance(each, TaskLabel) else _parse_label(each)
        if label.name in labels:
            raise ValueError(f"two labels are named {label.name!r}")
        labels[label.name] = label
    if not labels:
        raise ValueError("there are no labels")
    return tuple(labels.values())


def _parse_label(given: Any) -> TaskLabel:
    if isinstance(given, str):
        return TaskLabel(given, "any")
    if not isinstance(given, Mapping):
        raise ValueError(f"{given!r} is no label: neither a name nor an object with a name")  # noqa: TRY004
    attributes = given.get("attributes") or ()
    points = given.get("sublabels") or ()
    try:
        label = models.Label.model_validate(
            {
                **given,
                "id": 0,
                "attributes": [{**each, "id": 0} for each in attributes],
                "sublabels": [{**each, "id": 0} for each in points],
            }
        )
        models.LabelType(label.type)
    except (ValidationError, TypeError, ValueError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else None
        where = "" if problem is None else f"{'.'.join(map(str, problem['loc']))}: "
        reason = one_line(error) if problem is None else problem["msg"]
        raise ValueError(f"label {given.get('name', given)!r}: {where}{reason}") from None
    return labels_of_task([label])[0]
