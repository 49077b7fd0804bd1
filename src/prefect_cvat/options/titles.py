"""The titles of options in Prefect's form, for messages of flows."""

from __future__ import annotations

from contextlib import AbstractContextManager

from prefect_cvat.messages.argument_names import arguments_as_titles
from prefect_cvat.options.evaluation_options import ComparisonOptions, EvaluationOptions
from prefect_cvat.options.refine_options import RefineOptions
from prefect_cvat.options.run_options import Options
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.options.track_options import TrackOptions

__all__ = ["named_as_in_form"]


def named_as_in_form() -> AbstractContextManager[None]:
    """Name options in messages by their titles in the form."""
    models = (
        ComparisonOptions,
        EvaluationOptions,
        RefineOptions,
        ShapeTrackingOptions,
        TrackOptions,
        Options,
    )
    return arguments_as_titles({name: title for model in models for name, title in model.titles().items()})
