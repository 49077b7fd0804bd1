"""Options for the labels of a function: label mapping and confidence thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = [
    "FunctionLabelOptions",
    "LabelMap",
    "LabelMapEntry",
    "LabelOptions",
    "Prompts",
    "Threshold",
    "none_if_empty",
    "read_label_map",
]

Threshold = Annotated[float, Field(ge=0, le=1)]


class LabelMapEntry(BaseModel):
    """The mapping of one label (or sublabel) of the function.

    Attributes:
        name: The label of the task; None drops the label.
        sublabels: The mapping of its sublabels, by name; None maps equal names.
        attributes: Attribute names of the task by those of the function; None as a value drops the
            attribute. None maps equal names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str | None
    sublabels: dict[str, str | LabelMapEntry | None] | None = Field(default=None)
    attributes: dict[str, str | None] | None = Field(default=None)


LabelMap = Mapping[str, str | LabelMapEntry | None]
"""Label names of the task by label names of the function; None drops a label.

Other labels are mapped to the label of the same name.
"""


def none_if_empty(value: Any) -> Any:
    """An empty mapping, from the form, means None."""
    return value or None


_LABEL_MAP: TypeAdapter[LabelMap] = TypeAdapter(LabelMap)


def read_label_map(value: Any) -> LabelMap | None:
    """Validate a label map; an empty one means None.

    Raises:
        ValueError: It is invalid. The message names the label.
    """
    try:
        return _LABEL_MAP.validate_python(value) if value else None
    except ValidationError as error:
        problem = error.errors()[-1]
        where = " of ".join(repr(part) for part in reversed(problem["loc"]) if part not in _TYPES)
        raise ValueError(f"{where}: {problem['msg']}") from None


Prompts = Mapping[str, str | Sequence[str] | None]
"""What to look for, by label of the task: words, several wordings, or None to leave the label out."""

_PROMPTS: TypeAdapter[Prompts] = TypeAdapter(Mapping[str, str | list[str] | None])


def _read_prompts(value: Any) -> Prompts | None:
    try:
        return _PROMPTS.validate_python(value) if value else None
    except ValidationError as error:
        label = error.errors()[0]["loc"][:1]
        where = f"that of label {label[0]!r}" if label else "they"
        raise ValueError(
            f'{where} must be words, a list of words, or null, such as {{"person": "a person, a pedestrian"}}'
        ) from None


_TYPES = ("str", "LabelMapEntry")
"""Parts of an error's location that are types of the union, not labels."""


def _refuse_booleans(value: Any) -> Any:
    """Refuse True and False as thresholds, which pydantic would take as 1 and 0."""
    for name, threshold in value.items() if isinstance(value, Mapping) else ():
        if isinstance(threshold, bool):
            message = f"that of label {name!r} must be a number between 0 and 1, not {threshold}"
            raise ValueError(message)  # noqa: TRY004 (pydantic passes a TypeError through)
    return value


class FunctionLabelOptions(OptionModel):
    """Options for the labels of a function that need no task."""

    group: ClassVar[str] = "Labels"

    prompts: Annotated[
        Mapping[str, Any] | None,  # Prompts; Prefect shows the union of its values as several forms
        BeforeValidator(_read_prompts),
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            description=(
                "What to look for, by label of the task, for a function that finds what words describe, such"
                ' as {"person": "a person, a pedestrian", "sky": null}; null leaves a label out, and others'
                " are looked for by their name."
            ),
        ),
    ] = None
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
        BeforeValidator(none_if_empty),
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            description=(
                'Minimum confidence by label of the function, such as {"person": 0.7}; it may be'
                " below the confidence threshold."
            ),
        ),
    ] = None
    label_map: Annotated[
        Mapping[str, Any] | None,  # a LabelMap; Prefect cannot read the recursion of LabelMapEntry in a block
        BeforeValidator(read_label_map),
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            description=(
                "Labels of the task by labels of the function, for different names, such as"
                ' {"truck": "car", "dog": null}; null drops a label.'
            ),
        ),
    ] = None


class LabelOptions(FunctionLabelOptions):
    """Options for label mapping and confidence thresholds."""

    learned: Annotated[
        bool,
        Field(
            title="Use what was learned",
            description=(
                "Use what `prefect-cvat learn` has learned from corrections in the project: thresholds, label"
                " map (where none is given for a label), and the order of review."
            ),
        ),
    ] = False
    ignore_case: Annotated[bool, Field(description="Ignore case when label names are matched.")] = False
    allow_unmatched_labels: Annotated[
        bool,
        Field(description="Drop labels of the function that the task does not have, instead of failing."),
    ] = False
