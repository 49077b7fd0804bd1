"""Writes the score and the model of each annotation into attributes of the task's labels."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from math import floor
from typing import Any

from prefect_cvat.models import Attribute, InputTypeEnum, Label, Sublabel

__all__ = ["RunAttributes"]


class RunAttributes:
    """Attributes for score and model, where the labels of the task have them.

    Args:
        labels: The labels of the task.
        score: Name of the attribute for the score, of type text or number; None writes no score.
        model: Name of the attribute for the model, of type text, or of type select or radio with the model
            among its values; None writes no model.
        model_names: Names of the model, the preferred one first.
    """

    def __init__(
        self, labels: Sequence[Label], *, score: str | None, model: str | None, model_names: Sequence[str]
    ) -> None:
        self._scores: dict[int, tuple[int, Callable[[float], str]]] = {}
        self._models: dict[int, tuple[int, str]] = {}
        owners: list[Sublabel] = [owner for label in labels for owner in (label, *label.sublabels)]
        for owner in owners:
            for attribute in owner.attributes:
                if attribute.name == score and (format_score := _score_writer(attribute)) is not None:
                    self._scores[owner.id] = attribute.id, format_score
                elif attribute.name == model and (name := _model_value(attribute, model_names)) is not None:
                    self._models[owner.id] = attribute.id, name

    @property
    def are_any(self) -> bool:
        """Whether any label has such an attribute."""
        return bool(self._scores or self._models)

    def values(
        self, label_id: int, score: float | None, exclude: Container[int | None]
    ) -> list[dict[str, Any]]:
        """The attribute values for an annotation, as the server's JSON objects.

        Args:
            label_id: Its label (or sublabel) in the task.
            score: Its score; None if it has none.
            exclude: Ids of attributes that the function sets itself.
        """
        found = []
        if score is not None and label_id in self._scores:
            attribute_id, format_score = self._scores[label_id]
            found.append({"spec_id": attribute_id, "value": format_score(score)})
        if label_id in self._models:
            attribute_id, name = self._models[label_id]
            found.append({"spec_id": attribute_id, "value": name})
        return [value for value in found if value["spec_id"] not in exclude]


def _model_value(attribute: Attribute, names: Sequence[str]) -> str | None:
    match attribute.input_type:
        case InputTypeEnum.TEXT:
            return names[0]
        case InputTypeEnum.SELECT | InputTypeEnum.RADIO:
            return next((name for name in names if name in attribute.values), None)
        case _:
            return None


def _score_writer(attribute: Attribute) -> Callable[[float], str] | None:
    """The format of a score for an attribute; None if its type is not suitable."""
    match attribute.input_type:
        case InputTypeEnum.TEXT:
            return "{:.2f}".format
        case InputTypeEnum.NUMBER:
            return _number_writer(attribute.values)
        case _:
            return None


def _number_writer(values: Sequence[str]) -> Callable[[float], str] | None:
    """Formats a score as the nearest valid number, in percent if the maximum is greater than 1."""
    try:
        low, high, step = map(float, values)
    except ValueError:
        return None
    if not (low <= high and step > 0):
        return None
    scale = 1 if high <= 1 else 100
    max_steps = floor((high - low) / step + 1e-9)

    def format_score(score: float) -> str:
        steps = round((scale * score - low) / step)
        return f"{low + step * max(0, min(steps, max_steps)):.10g}"

    return format_score
