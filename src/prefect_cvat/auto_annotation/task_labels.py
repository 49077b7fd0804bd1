"""The labels of a task, for functions that are made for a task.

A factory with the keyword parameter `task_labels` is called when the labels of the task are known::

    def create(*, task_labels: Sequence[TaskLabel], prompts: Prompts | None = None): ...
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prefect_cvat import models

__all__ = ["Prompts", "TaskLabel", "TaskLabelAttribute", "labels_of_task"]

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
