"""The labels of several functions as one spec, by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_cvat import models
from prefect_cvat.auto_annotation import (
    BadFunctionError,
    DetectionFunction,
    DetectionFunctionSpec,
    attribute_spec,
    label_spec,
)

__all__ = ["EnsembleLabels"]

_WITHOUT_OVERLAP = frozenset({"points", "polyline", "skeleton"})


@dataclass(frozen=True, slots=True)
class _Member:
    """A function's ids as those of the ensemble: of labels, and of attributes by label and id."""

    labels: dict[int, int]
    attributes: dict[tuple[int, int], int]


class EnsembleLabels:
    """The labels of several functions: those with the same name are one.

    Args:
        functions: The functions by name.

    Attributes:
        spec: All labels. A label that the functions have with different types has the type `any`.
        known: The indices of the functions that have a label, by its id in `spec`.

    Raises:
        BadFunctionError: A label cannot be compared by overlap, or an attribute has different values.
    """

    def __init__(self, functions: Mapping[str, DetectionFunction]) -> None:
        names: dict[str, int] = {}
        types: dict[str, set[str]] = {}
        attributes: dict[str, dict[str, tuple[str, Any]]] = {}
        self.known: dict[int, list[int]] = {}
        self._members: list[_Member] = []
        for index, (function_name, function) in enumerate(functions.items()):
            member = _Member({}, {})
            for label in function.spec.labels:
                kind = models.enum_value(getattr(label, "type", None) or "any")
                if kind in _WITHOUT_OVERLAP:
                    raise BadFunctionError(
                        f"label {label.name!r} of {function_name!r} has the type {kind!r}; an ensemble"
                        " compares boxes, masks, polygons and tags"
                    )
                label_id = names.setdefault(label.name, len(names))
                types.setdefault(label.name, set()).add(kind)
                member.labels[label.id] = label_id
                self.known.setdefault(label_id, []).append(index)
                of_label = attributes.setdefault(label.name, {})
                for attribute in getattr(label, "attributes", None) or ():
                    _merge(of_label, attribute, label.name, function_name)
                    member.attributes[label.id, attribute.id] = list(of_label).index(attribute.name)
            self._members.append(member)
        self.spec = DetectionFunctionSpec(
            labels=[
                label_spec(
                    name,
                    label_id,
                    type=next(iter(types[name])) if len(types[name]) == 1 else "any",
                    attributes=[
                        attribute_spec(
                            each.name,
                            number,
                            models.enum_value(each.input_type),
                            list(each.values or ()),
                            mutable=bool(getattr(each, "mutable", False)),
                        )
                        for number, (_, each) in enumerate(attributes[name].values())
                    ],
                )
                for name, label_id in names.items()
            ]
        )

    def renumbered(self, member: int, annotations: Iterable[Any]) -> list[Any]:
        """The annotations of a function with the ids of the ensemble."""
        ids = self._members[member]
        return [
            annotation.model_copy(
                update={
                    "label_id": ids.labels[annotation.label_id],
                    "attributes": [
                        value.model_copy(
                            update={"spec_id": ids.attributes[annotation.label_id, value.spec_id]}
                        )
                        for value in annotation.attributes or ()
                    ],
                }
            )
            for annotation in annotations
        ]

    def weights(self, weights: Sequence[float | Mapping[str, float | None]]) -> dict[int, list[float]]:
        """The weight of each function by label id; 0 for one that does not have the label.

        Args:
            weights: Of each function: one weight, or one by label, where other labels get their mean.
        """
        of_label = {}
        for label in self.spec.labels:
            known = self.known[label.id]
            of_label[label.id] = [
                _weight(each, label.name) if index in known else 0.0 for index, each in enumerate(weights)
            ]
        return of_label


def _weight(weight: float | Mapping[str, float | None], label: str) -> float:
    if not isinstance(weight, Mapping):
        return float(weight)
    if (own := weight.get(label)) is not None:
        return float(own)
    given = [value for value in weight.values() if value is not None]
    return sum(given) / len(given) if given else 1.0


def _merge(of_label: dict[str, tuple[str, Any]], attribute: Any, label: str, function: str) -> None:
    earlier, own = of_label.setdefault(attribute.name, (function, attribute))
    if (own.input_type, list(own.values or ())) != (attribute.input_type, list(attribute.values or ())):
        raise BadFunctionError(
            f"attribute {attribute.name!r} of label {label!r} has the values {list(own.values or ())} in"
            f" {earlier!r} and {list(attribute.values or ())} in {function!r}; they must be the same"
        )
