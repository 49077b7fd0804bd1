"""Options for evaluating annotations, and for comparing them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from prefect_cvat.messages.argument_names import argument
from prefect_cvat.options.label_and_threshold_options import none_if_empty, read_label_map
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

__all__ = ["AgainstKind", "ComparisonOptions", "EvaluationOptions"]

AgainstKind = Literal[
    "none", "automatic", "task", "run", "coco_file", "function", "function_module", "function_file"
]
"""What evaluated annotations are compared with."""

FUNCTIONS: frozenset[AgainstKind] = frozenset({"function", "function_module", "function_file"})
"""The kinds that are functions."""


_RUN_ID = re.compile(r"[\w-]{8,64}")
"""The id of a run, or its beginning. Not a path: a form must not name files of a worker."""


class EvaluationOptions(OptionModel):
    """Options for the evaluated frames and the thresholds of a match."""

    group: ClassVar[str] = "Evaluation"

    all_frames: Annotated[
        bool,
        Field(description="Evaluate frames without manual annotations too: they have been checked."),
    ] = False
    iou_threshold: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            title="Minimum IoU",
            description=("Minimum IoU (or OKS) of a match; average precision has its own thresholds."),
        ),
    ] = 0.5
    score_threshold: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            title="Minimum score",
            description="Minimum score of a prediction; average precision and curves use all scores.",
        ),
    ] = 0.0


class ComparisonOptions(OptionModel):
    """Options for what is compared with the evaluated function or annotations."""

    group: ClassVar[str] = "Comparison"

    against: Annotated[
        str | None,
        OnCommandLine(metavar="FUNCTION|automatic|task:ID|run:ID|FILE"),
        Field(
            description=(
                "Compare with another function (a name, a module, or a .py file), with the automatic"
                " annotations of the task or of another one with the same images, with what an earlier run on"
                " the task has written, or with a COCO data set (.json)."
            )
        ),
    ] = None
    against_parameters: Annotated[
        Mapping[str, str] | None,
        BeforeValidator(none_if_empty),
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            title="Parameters of the other function",
            description="Parameters of the other function, each value as type:value, such as float:0.3.",
        ),
    ] = None
    against_label_map: Annotated[
        Mapping[str, Any] | None,  # a LabelMap, as for label_map
        BeforeValidator(read_label_map),
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            title="Label map of the other function",
            description="Labels of the task by labels of the other function; null drops a label.",
        ),
    ] = None
    resamples: Annotated[
        int,
        Field(
            ge=1,
            le=100_000,
            title="Resamples",
            description="Number of resamples of the frames, for the intervals of differences.",
        ),
    ] = 1000
    seed: Annotated[
        int,
        Field(
            ge=0, title="Seed", description="Seed of the resamples; the same seed gives the same intervals."
        ),
    ] = 0

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        kind = self.against_source[0]
        if kind not in FUNCTIONS and (self.against_parameters or self.against_label_map):
            raise ValueError(
                f"{argument('against_parameters')} and {argument('against_label_map')} are for a function,"
                f" but {argument('against')} is {self.against!r}"
            )
        return self

    def check_used(self, *, has_other: bool) -> None:
        """Check that options for a comparison are not given without one.

        Raises:
            ValueError: They are.
        """
        defaults = {name: type(self).model_fields[name].default for name in ("resamples", "seed")}
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        if given and not has_other:
            names = " and ".join(map(argument, given))
            raise ValueError(f"{names}: nothing is compared; give {argument('against')}, too")

    @property
    def against_source(self) -> tuple[AgainstKind, str]:
        """What is compared with, and its name, path or number; `none` for nothing.

        Raises:
            ValueError: The number of the task, or the id of the run, is missing.
        """
        text = (self.against or "").strip()
        if not text:
            return "none", ""
        if text == "automatic":
            return "automatic", ""
        kind, _, number = text.partition(":")
        if kind == "task":
            if not number.isdecimal():
                raise ValueError(f"{argument('against')} is {text!r}; write task:ID, such as task:42")
            return "task", number
        if kind == "run":
            if not _RUN_ID.fullmatch(number):
                raise ValueError(
                    f"{argument('against')} is {text!r}; write run:ID, with at least the first eight"
                    " characters of an id from `prefect-cvat runs`"
                )
            return "run", number
        if text.endswith(".json"):
            return "coco_file", text
        if text.endswith(".py"):
            return "function_file", text
        return ("function_module" if "." in text else "function"), text
