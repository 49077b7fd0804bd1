"""Auto-annotation of CVAT tasks with machine-learning models, orchestrated by Prefect."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_cvat import models
    from prefect_cvat.cvat.client import Client
    from prefect_cvat.exceptions import PrefectCvatError
    from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
    from prefect_cvat.options.track_options import TrackOptions
    from prefect_cvat.runs.annotate_task import annotate_task
    from prefect_cvat.runs.refine_task import refine_task
    from prefect_cvat.runs.track_task import track_task
    from prefect_cvat.upload.undo import undo_run

__all__ = [
    "Client",
    "PrefectCvatError",
    "ShapeTrackingOptions",
    "TrackOptions",
    "annotate_task",
    "models",
    "refine_task",
    "track_task",
    "undo_run",
]

# Loaded at first use: `import prefect_cvat` takes milliseconds.
_LAZY = {
    "Client": "prefect_cvat.cvat.client",
    "ShapeTrackingOptions": "prefect_cvat.options.shape_tracking_options",
    "PrefectCvatError": "prefect_cvat.exceptions",
    "TrackOptions": "prefect_cvat.options.track_options",
    "annotate_task": "prefect_cvat.runs.annotate_task",
    "refine_task": "prefect_cvat.runs.refine_task",
    "track_task": "prefect_cvat.runs.track_task",
    "undo_run": "prefect_cvat.upload.undo",
}


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("prefect_cvat.models")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
