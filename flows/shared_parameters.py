"""Parameters that the flows share: the function, its options, and the name of a run.

The help texts of the form are in the docstring of each flow: Prefect 3.9 reads them there, and ignores the
description of an annotated type.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any

from prefect.runtime import flow_run
from pydantic import BaseModel, Field

from prefect_cvat.function_block import CvatFunction
from prefect_cvat.messages.argument_names import arguments_as_titles
from prefect_cvat.options.annotation_options import AnnotationOptions
from prefect_cvat.options.evaluation_options import EvaluationOptions
from prefect_cvat.options.execution_options import DeviceOption, ExecutionOptions, FetchOptions
from prefect_cvat.options.label_and_threshold_options import LabelOptions
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import TrackOptions

__all__ = [
    "DETECTION_FUNCTION",
    "ExecutionSettings",
    "FetchSettings",
    "TaskId",
    "choose_function",
    "chosen_name",
    "make_options",
    "name_run",
    "named_as_in_form",
]

DETECTION_FUNCTION = "nanodet_detection"
"""The function that flows run where none is named: it comes with its weights."""

TaskId = Annotated[int, Field(ge=1)]


class ExecutionSettings(ExecutionOptions, DeviceOption):
    """The device, batches and the cache."""


class FetchSettings(FetchOptions, DeviceOption):
    """The device and batches."""


def named_as_in_form() -> AbstractContextManager[None]:
    """Name options in messages by their titles in the form."""
    models = (EvaluationOptions, RefineOptions, ShapeTrackingOptions, TrackOptions, Options)
    return arguments_as_titles({name: title for model in models for name, title in model.titles().items()})


def choose_function(
    block: CvatFunction | None,
    function: str,
    function_parameters: dict[str, str] | None = None,
    execution: DeviceOption = DeviceOption(),
    labels: LabelOptions | None = None,
    annotations: AnnotationOptions | None = None,
) -> CvatFunction:
    """The function that a run is to use: that of a block, or the one that its own parameters describe.

    Args:
        block: A configured function; it takes the place of all else but the device. (A deployment may have
            set the rest, and a form cannot take it away.)
        function: The name of a function.
        function_parameters: Its parameters.
        execution: Where the model runs.
        labels: Which of its labels are written, and from which confidence on.
        annotations: What the annotations are like that are written.
    """
    device = execution.device
    if block is not None:
        return block if device is None else block.model_copy(update={"device": device})
    options = Options.of(*filter(None, (labels, annotations)))
    return CvatFunction(
        function=function,
        function_parameters=function_parameters,
        device=device,
        **{
            name: getattr(options, name)
            for name in (*LabelOptions.model_fields, *AnnotationOptions.model_fields)
        },
    )


def make_options(*models: BaseModel) -> Options:
    """The options of a run, of the parameters of its flow; of several that have an option the last counts."""
    options = Options.of(*models)
    # a list that was emptied in the form is one that was not given
    return options.changed(frames=options.frames or None, jobs=options.jobs or None)


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
