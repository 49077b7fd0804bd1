"""The command `prompts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from prefect_cvat.cli.command import Only, TaskId, Without, command
from prefect_cvat.cli.console import keep_stdout_for_json, print_lines, stderr
from prefect_cvat.cli.function_choice import FunctionChoice
from prefect_cvat.cli.report_options import JsonOption, OutputFile
from prefect_cvat.cli.server import given_server
from prefect_cvat.cli.truth_choice import TruthChoice
from prefect_cvat.options.evaluation_options import EvaluationOptions
from prefect_cvat.options.option_base import OnCommandLine, OptionModel
from prefect_cvat.options.run_options import Options

__all__ = ["prompts"]


class _Tried(OptionModel):
    group: ClassVar[str] = "Prompts"

    wordings: Annotated[
        Mapping[str, Any] | None,
        OnCommandLine(metavar="JSON|FILE"),
        Field(
            description=(
                'Wordings to try by label of the task, such as {"car": "a parked car, a van"}: a list, or a'
                " text in which commas separate them, as in --prompts. The name of each label, the name with"
                " an article, and as a caption are tried too."
            )
        ),
    ] = None
    suggest: Annotated[
        bool,
        OnCommandLine("--suggest/--no-suggest"),
        Field(
            description="Try these three too; otherwise a label without wordings is tried by its name only."
        ),
    ] = True


class _Output(JsonOption):
    output: Annotated[
        OutputFile,
        OnCommandLine("--output -o", metavar="FILE"),
        Field(
            description=(
                "Write the best words of each label to this file, for --prompts. A wording is given to one"
                " label only: to the one that it finds best."
            )
        ),
    ] = None


@command
def prompts(
    task_id: TaskId,
    function: Annotated[FunctionChoice, Without("exemplars")],
    tried: _Tried,
    truth: TruthChoice,
    evaluated: Annotated[EvaluationOptions, Only("all_frames")],
    options: Annotated[
        Options,
        Only(
            *("frames", "quality", "conf_threshold", "on_frame_error", "use_cache", "refresh_cache"),
            *("frames_per_batch", "downloads"),
        ),
    ],
    output: _Output,
) -> None:
    """Try wordings for the labels of a task, and choose the best by evaluation.

    The function is one that finds what words describe. Each wording is compared with the manual annotations
    by average precision of boxes; labels that no wording finds are named. The model is loaded once, and each
    image read once, for all wordings. Detections of a confidence of 0.05 and more count, unless
    --conf-threshold is given. Nothing is written to the server.

    \b
    Example:
      prefect-cvat --server-host cvat.example.com --auth alice \\
        prompts 123 --function open_vocabulary_detection \\
        --wordings '{"person": ["pedestrian", "a person, walking"]}' -o prompts.json
      prefect-cvat --server-host cvat.example.com --auth alice \\
        annotate 124 --function open_vocabulary_detection --prompts prompts.json
    """  # noqa: D301 (\b keeps click from joining the lines)
    keep_stdout_for_json(output.as_json)
    source, truth_task_id = truth.source
    loaded = function.load()
    from prefect_cvat.cli.run_output import progress_bar
    from prefect_cvat.evaluation.prompt_trial import try_prompts
    from prefect_cvat.evaluation.report.prompt_trial_report import prompt_lines, write_prompts

    with given_server().connect() as client, progress_bar("Trying") as progress:
        done = try_prompts(
            client,
            task_id,
            loaded,
            tried.wordings,
            suggest=tried.suggest,
            function_name=function.name,
            truth=source,
            truth_task_id=truth_task_id,
            all_frames=evaluated.all_frames,
            options=options,
            progress=progress,
        )
    print_lines(prompt_lines(done), done, output.as_json)
    if output.output is not None:
        write_prompts(done, output.output)
        stderr.print(f"prompts written to {output.output}", markup=False)
