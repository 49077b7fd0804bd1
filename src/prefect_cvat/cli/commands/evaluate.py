"""The command `evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import click
from pydantic import Field, model_validator

from prefect_cvat.cli.command import TaskId, Without, command
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines, stderr
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import JsonOption, OutputFile, PageOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.options.evaluation_options import EvaluationOptions
from prefect_cvat.options.execution_options import ReviewOptions
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.option_model import OnCommandLine
from prefect_cvat.options.run_options import Options

if TYPE_CHECKING:
    from prefect_cvat.evaluation.inputs.ground_truth import GroundTruthSource

__all__ = ["evaluate"]

NOT_WRITTEN = (
    "score_attribute",
    "model_attribute",
    *ExistingOptions.model_fields,
    *ReviewOptions.model_fields,
)
"""Options about writing; evaluation and export write nothing to the server."""


class _Evaluated(EvaluationOptions):
    left_by_run: Annotated[
        bool, Field(description="Evaluate the automatic annotations of the task (source auto).")
    ] = False
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
    def truth_source(self) -> tuple[GroundTruthSource, int | None]:
        """The source of the ground truth, and the id of the other task, if any."""
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


class _Output(PageOptions, JsonOption):
    thresholds: Annotated[
        OutputFile,
        Field(
            description="Write the score threshold with the best F1 of each label, for --label-thresholds."
        ),
    ] = None
    precision: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        Field(description="With --thresholds: the lowest thresholds that reach this precision instead."),
    ] = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.precision is not None and self.thresholds is None:
            raise ValueError("--precision goes with --thresholds")
        return self


@command
def evaluate(
    task_id: TaskId,
    function: FunctionChoice,
    evaluated: _Evaluated,
    options: Annotated[Options, Without("jobs", *NOT_WRITTEN)],
    output: _Output,
) -> None:
    """Evaluate a function, or the automatic annotations of a task, on manual annotations.

    Nothing is written to the server. All frames of a ground-truth job are evaluated; of a task, those with
    manual annotations.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        evaluate 123 --function nanodet_detection --allow-unmatched-labels \\
        --conf-threshold 0.05 --page evaluation.html
      prefect-cvat --server-host cvat.example.com --auth alice \\
        evaluate 123 --left-by-run --truth ground-truth
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    truth, truth_task_id = evaluated.truth_source
    if evaluated.left_by_run == function.is_made:
        raise click.BadParameter("give a function, or --left-by-run")
    loaded = function.load() if function.is_made else None
    from prefect_cvat.cli.run_output import progress_bar
    from prefect_cvat.evaluation import evaluate_task
    from prefect_cvat.evaluation.report.evaluation_page import render_evaluation
    from prefect_cvat.evaluation.report.tables import plain_lines
    from prefect_cvat.evaluation.thresholds import choose_thresholds, write_thresholds
    from prefect_cvat.files.output_file import write_text

    with given_server().connect() as client:
        with progress_bar("Detecting") as progress:
            done = evaluate_task(
                client,
                task_id,
                loaded,
                function_name=function.name if function.is_made else None,
                truth=truth,
                truth_task_id=truth_task_id,
                all_frames=evaluated.all_frames,
                options=options,
                iou_threshold=evaluated.iou_threshold,
                score_threshold=evaluated.score_threshold,
                progress=progress,
            )
        print_lines(plain_lines(done), done, output.as_json)  # also where a file cannot be written
        if output.thresholds is not None:
            write_thresholds(choose_thresholds(done, precision=output.precision), output.thresholds)
        if output.page is not None:
            page = render_evaluation(
                client, done, output.page, max_frames=output.page_frames, quality=options.quality
            )
            write_text(output.page, page)
    for what, file in (("drawn in", output.page), ("thresholds written to", output.thresholds)):
        if file is not None:
            stderr.print(f"{what} {file}", markup=False)
