"""The option that chooses what to evaluate on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import click
from pydantic import Field

from prefect_cvat.options.evaluation_options import EvaluationOptions
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

if TYPE_CHECKING:
    from prefect_cvat.evaluation.inputs.ground_truth import GroundTruthSource

__all__ = ["TruthChoice"]


class TruthChoice(OptionModel):
    """The ground truth."""

    group: ClassVar[str] = EvaluationOptions.group

    truth: Annotated[
        str,
        OnCommandLine(metavar="manual|ground-truth|task:ID"),
        Field(
            description=(
                "What to evaluate on: the manual annotations of the task, its ground-truth job, or the manual"
                " annotations of another task with the same images."
            )
        ),
    ] = "manual"

    @property
    def source(self) -> tuple[GroundTruthSource, int | None]:
        """The source of the ground truth, and the id of the other task, if any.

        Raises:
            BadParameter: It is none of these.
        """
        match self.truth.partition(":"):
            case ("manual", "", _):
                return "manual", None
            case ("ground-truth", "", _):
                return "ground_truth", None
            case ("task", ":", number) if number.isdecimal():
                return "task", int(number)
            case _:
                raise click.BadParameter(
                    f"{self.truth!r} is none of manual, ground-truth and task:ID, such as task:42",
                    param_hint="--truth",
                )
