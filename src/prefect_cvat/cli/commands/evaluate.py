"""The command `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import click
from pydantic import Field, model_validator

from prefect_cvat.cli.command import TaskId, Without, command
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines, stderr
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import JsonOption, OutputFile, PageOptions
from prefect_cvat.cli.server import given_server
from prefect_cvat.cli.truth_choice import TruthChoice
from prefect_cvat.options.correction_options import CorrectionSeconds
from prefect_cvat.options.evaluation_options import ComparisonOptions, EvaluationOptions
from prefect_cvat.options.execution_options import ModelOptions, ReviewOptions
from prefect_cvat.options.existing_annotation_options import ExistingOptions
from prefect_cvat.options.option_base import OnCommandLine
from prefect_cvat.options.run_options import Options

if TYPE_CHECKING:
    from prefect_cvat.auto_annotation.interface import DetectionFunction
    from prefect_cvat.cvat.client import Client
    from prefect_cvat.evaluation import TaskEvaluation
    from prefect_cvat.evaluation.comparison.task_comparison import Against
    from prefect_cvat.options.frame_options import Selection

__all__ = ["evaluate"]

NOT_WRITTEN = (
    "score_attribute",
    "model_attribute",
    *ExistingOptions.model_fields,
    *ReviewOptions.model_fields,
)
"""Options about writing; evaluation and export write nothing to the server."""


class _Evaluated(TruthChoice, EvaluationOptions):
    left_by_run: Annotated[
        bool, Field(description="Evaluate the automatic annotations of the task (source auto).")
    ] = False


class _Output(PageOptions, JsonOption):
    thresholds: Annotated[
        OutputFile,
        Field(description="Write the best score threshold of each label, for --label-thresholds."),
    ] = None
    chosen_for: Annotated[
        Literal["f1", "time"],
        OnCommandLine("--for"),
        Field(
            description=(
                "With --thresholds: the thresholds with the best F1, or those that save most time,"
                " by the seconds of each action."
            )
        ),
    ] = "f1"
    precision: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None,
        Field(description="With --thresholds: the lowest thresholds that reach this precision instead."),
    ] = None

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.precision is not None and self.thresholds is None:
            raise ValueError("--precision goes with --thresholds")
        if self.chosen_for != "f1" and self.thresholds is None:
            raise ValueError(f"--for {self.chosen_for} goes with --thresholds")
        if self.chosen_for != "f1" and self.precision is not None:
            raise ValueError(f"--for {self.chosen_for} and --precision contradict each other")
        return self


@command
def evaluate(
    task_id: TaskId,
    function: FunctionChoice,
    evaluated: _Evaluated,
    comparison: ComparisonOptions,
    options: Annotated[Options, Without("jobs", *NOT_WRITTEN)],
    seconds: CorrectionSeconds,
    output: _Output,
) -> None:
    """Evaluate a function, or the automatic annotations of a task, on manual annotations.

    Nothing is written to the server. All frames of a ground-truth job are evaluated; of a task, those with
    manual annotations. With --against, both are evaluated on the same frames, and compared.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        evaluate 123 --function nanodet_detection --allow-unmatched-labels \\
        --conf-threshold 0.05 --page evaluation.html
      prefect-cvat --server-host cvat.example.com --auth alice \\
        evaluate 123 --left-by-run --truth ground-truth
      prefect-cvat --server-host cvat.example.com --auth alice \\
        evaluate 123 --function-file new.py --against old.py --page comparison.html
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    truth, truth_task_id = evaluated.source
    if evaluated.left_by_run == function.is_made:
        raise click.BadParameter("give a function, or --left-by-run")
    comparison.check_used(has_other=bool(comparison.against))
    output.check_pages([task_id])
    loaded = function.load() if function.is_made else None
    against = _load_against(comparison, function)
    from prefect_cvat.cli.run_output import progress_bar
    from prefect_cvat.evaluation import compare_task, evaluate_task
    from prefect_cvat.evaluation.report.comparison_tables import comparison_lines
    from prefect_cvat.evaluation.report.evaluation_page import render_evaluation
    from prefect_cvat.evaluation.report.tables import plain_lines
    from prefect_cvat.evaluation.thresholds import choose_thresholds, write_thresholds
    from prefect_cvat.rendering.review_page.writer import write_review_page

    settings: dict[str, Any] = {
        "function_name": function.name if function.is_made else None,
        "truth": truth,
        "truth_task_id": truth_task_id,
        "all_frames": evaluated.all_frames,
        "options": options,
        "iou_threshold": evaluated.iou_threshold,
        "score_threshold": evaluated.score_threshold,
    }
    with given_server().connect() as client:
        with progress_bar("Detecting") as progress:
            if comparison.against:
                compared = compare_task(
                    client,
                    task_id,
                    loaded,
                    against,
                    against_name=comparison.against,
                    against_label_map=comparison.against_label_map,
                    resamples=comparison.resamples,
                    seed=comparison.seed,
                    progress=progress,
                    **settings,
                )
                done = compared.first
            else:
                compared = None
                done = evaluate_task(client, task_id, loaded, progress=progress, **settings)
        # before files are written: also where one cannot be
        if compared is None:
            print_lines(plain_lines(done), done, output.as_json)
            if not output.as_json:
                selection = options.selection if evaluated.left_by_run else None
                print_lines(_time_lines(client, done, seconds, selection), done, as_json=False)
        else:
            print_lines(comparison_lines(compared), compared, output.as_json)
        if output.thresholds is not None:
            for_time = seconds if output.chosen_for == "time" else None
            chosen = choose_thresholds(done, precision=output.precision, seconds=for_time)
            write_thresholds(chosen, output.thresholds)
        if output.page is not None:
            page = render_evaluation(
                client,
                done,
                output.page,
                max_frames=output.page_frames,
                quality=options.quality,
                compared=compared,
            )
            write_review_page(output.page, page)
    for what, file in (("drawn in", output.page), ("thresholds written to", output.thresholds)):
        if file is not None:
            stderr.print(f"{what} {file}", markup=False)


def _time_lines(
    client: Client, done: TaskEvaluation, seconds: CorrectionSeconds, of_runs: Selection | None
) -> list[str]:
    """What corrections of runs on some frames have taken, where that is known; else what they would take."""
    from prefect_cvat.corrections import saved_time
    from prefect_cvat.evaluation.report.tables import expected_time_lines
    from prefect_cvat.exceptions import PrefectCvatError, RunNotFoundError

    expected = expected_time_lines(done, seconds)
    if of_runs is None:
        return expected
    try:
        saved = saved_time(client, done.task_id, seconds=seconds, selection=of_runs)
    except RunNotFoundError:  # by another machine
        return expected
    except PrefectCvatError as error:
        return [*expected, f"what corrections have taken is not known: {error}"]
    return [saved.lines()[0]] if saved.frames else expected


def _load_against(comparison: ComparisonOptions, function: FunctionChoice) -> Against:
    """What `--against` names: a function is loaded, with the device and batch size of the other one."""
    kind, name = comparison.against_source
    if kind == "task":
        return int(name)
    if kind == "run":
        return name
    if kind == "coco_file":
        return Path(name)
    if kind in ("none", "automatic"):
        return None
    chosen: dict[str, Any] = {option: getattr(function, option) for option in ModelOptions.model_fields}
    parameters = [f"{key}={value}" for key, value in (comparison.against_parameters or {}).items()]
    chosen |= {kind: name, "function_parameter": parameters}
    other: DetectionFunction = FunctionChoice(**chosen).load()
    return other
