"""Options for the labels of a function: where they go, and from which confidence on they count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from prefect_cvat.options.model import OnCommandLine, OptionModel

__all__ = ["LabelMap", "LabelMapEntry", "LabelOptions", "Threshold"]

Threshold = Annotated[float, Field(ge=0, le=1)]


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


def _none_if_empty(value: Any) -> Any:
    """A mapping that was emptied in the form is one that was not given."""
    return value or None


_LABEL_MAP: TypeAdapter[LabelMap] = TypeAdapter(LabelMap)


def _read_label_map(value: Any) -> LabelMap | None:
    try:
        return _LABEL_MAP.validate_python(value) if value else None
    except ValidationError as error:
        problem = error.errors()[-1]
        where = " of ".join(repr(part) for part in reversed(problem["loc"]) if part not in _TYPES)
        raise ValueError(f"{where}: {problem['msg']}") from None


_TYPES = ("str", "LabelMapEntry")
"""Parts of the place of an error that are no labels, but types that the value might have been of."""


def _refuse_booleans(value: Any) -> Any:
    """Refuse True and False as thresholds, which pydantic would take as 1 and 0."""
    for name, threshold in value.items() if isinstance(value, Mapping) else ():
        if isinstance(threshold, bool):
            message = f"that of label {name!r} must be a number between 0 and 1, not {threshold}"
            raise ValueError(message)  # noqa: TRY004 (pydantic passes a TypeError through)
    return value


class LabelOptions(OptionModel):
    """Which labels of the function are written, and from which confidence on."""

    group: ClassVar[str] = "Labels"

    conf_threshold: Annotated[
        Threshold | None,
        Field(
            title="Confidence threshold",
            description="Minimum confidence of an annotation, 0 to 1; by default that of the function.",
        ),
    ] = None
    label_thresholds: Annotated[
        Mapping[str, Threshold] | None,
        BeforeValidator(_refuse_booleans),
        BeforeValidator(_none_if_empty),
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            description=(
                'Minimum confidence of single labels of the function, such as {"person": 0.7}; it may be'
                " below the confidence threshold."
            ),
        ),
    ] = None
    label_map: Annotated[
        Mapping[str, Any] | None,  # a LabelMap; Prefect cannot read the recursion of LabelMapEntry in a block
        BeforeValidator(_read_label_map),
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            description=(
                "From labels of the function to labels of the task, where the names differ, such as"
                ' {"truck": "car", "dog": null}; null drops a label.'
            ),
        ),
    ] = None
    ignore_case: Annotated[
        bool, Field(description="Match label names without regard to upper and lower case.")
    ] = False
    allow_unmatched_labels: Annotated[
        bool,
        Field(description="Drop labels of the function that the task does not have, instead of failing."),
    ] = False
