"""The function that a flow run is to use: what the form or the deployment chose, and its name.

The help texts of the form are in the docstring of each flow: Prefect 3.9 reads them there, and ignores the
description of an annotated type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from prefect.runtime import flow_run
from pydantic import Field

from prefect_cvat.function_block import CvatFunction
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.execution_options import ModelOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.run_options import Options

__all__ = [
    "DETECTION_FUNCTION",
    "TaskId",
    "choose_function",
    "chosen_name",
    "name_run",
]

DETECTION_FUNCTION = "nanodet_detection"
"""The function that flows run where none is named: it comes with its weights."""

TaskId = Annotated[int, Field(ge=1)]


def choose_function(
    block: CvatFunction | None,
    function: str,
    function_parameters: dict[str, str] | None = None,
    execution: ModelOptions = ModelOptions(),
    labels: LabelOptions | None = None,
    annotations: AnnotationOptions | None = None,
) -> CvatFunction:
    """The function that a run is to use: that of a block, or the one that its own parameters describe.

    Args:
        block: A configured function; it takes the place of all else but `execution`. (A deployment may have
            set the rest, and a form cannot take it away.)
        function: The name of a function.
        function_parameters: Its parameters.
        execution: Where the model runs, and how many images it gets at once.
        labels: Which of its labels are written, and from which confidence on.
        annotations: What the annotations are like that are written.
    """
    model = execution.create_arguments
    if block is not None:
        return block.model_copy(update=model) if model else block
    options = Options.of(*filter(None, (labels, annotations)))
    return CvatFunction(
        function=function,
        function_parameters=function_parameters,
        **model,
        **{
            name: getattr(options, name)
            for name in (*LabelOptions.model_fields, *AnnotationOptions.model_fields)
        },
    )


def name_run() -> str:
    """The name of a run of a flow on a task, such as `annotate task 42 with nanodet_detection`."""
    parameters = flow_run.parameters
    jobs = getattr(parameters.get("frames"), "jobs", None)
    shard = f" (jobs {jobs[0]}-{jobs[-1]})" if jobs else ""
    return f"{flow_run.flow_name} {parameters['task_id']}{shard} with {chosen_name(parameters)}"


def chosen_name(parameters: Mapping[str, Any]) -> str:
    """The name of the function that a run is to use, by the parameters of its flow; empty for none."""
    block = parameters.get("function_block")
    return str(parameters.get("function") or "") if block is None else str(block.function)
