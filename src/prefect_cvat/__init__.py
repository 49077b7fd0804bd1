"""Auto-annotation of CVAT tasks with machine-learning models, orchestrated by Prefect.

The public names are these, and those in `prefect_cvat.auto_annotation`, `.corrections`, `.evaluation`,
`.flows`, `.gateway`, `.sandbox`, and `.settings`. Other modules may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_cvat import exceptions, models
    from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel, TaskLabelAttribute
    from prefect_cvat.credentials import CvatCredentials
    from prefect_cvat.cvat.client import Client
    from prefect_cvat.evaluation.comparison.task_comparison import TaskComparison, compare_task
    from prefect_cvat.evaluation.task_evaluation import TaskEvaluation, evaluate_task
    from prefect_cvat.exceptions import PrefectCvatError
    from prefect_cvat.export.export_report import ExportReport
    from prefect_cvat.export.task import export_task
    from prefect_cvat.function_block import CvatFunction
    from prefect_cvat.learning.learn_report import LearnReport
    from prefect_cvat.learning.learn_task import learn_task
    from prefect_cvat.options.refine_options import RefineOptions
    from prefect_cvat.options.run_options import Options
    from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
    from prefect_cvat.options.track_options import TrackOptions
    from prefect_cvat.runs.annotate_task import annotate_task
    from prefect_cvat.runs.refine_task import refine_task
    from prefect_cvat.runs.reports.report_model import RunReport
    from prefect_cvat.runs.track_task import track_task
    from prefect_cvat.upload.undo_annotations import UndoReport, undo_run

__all__ = [
    "Client",
    "CvatCredentials",
    "CvatFunction",
    "ExportReport",
    "LearnReport",
    "Options",
    "PrefectCvatError",
    "RefineOptions",
    "RunReport",
    "ShapeTrackingOptions",
    "TaskComparison",
    "TaskEvaluation",
    "TaskLabel",
    "TaskLabelAttribute",
    "TrackOptions",
    "UndoReport",
    "annotate_task",
    "compare_task",
    "evaluate_task",
    "exceptions",
    "export_task",
    "learn_task",
    "models",
    "refine_task",
    "track_task",
    "undo_run",
]

# Loaded at first use: `import prefect_cvat` takes milliseconds.
_MODULES = {
    "Client": "prefect_cvat.cvat.client",
    "CvatCredentials": "prefect_cvat.credentials",
    "CvatFunction": "prefect_cvat.function_block",
    "ExportReport": "prefect_cvat.export.export_report",
    "LearnReport": "prefect_cvat.learning.learn_report",
    "Options": "prefect_cvat.options.run_options",
    "PrefectCvatError": "prefect_cvat.exceptions",
    "RefineOptions": "prefect_cvat.options.refine_options",
    "RunReport": "prefect_cvat.runs.reports.report_model",
    "ShapeTrackingOptions": "prefect_cvat.options.shape_tracking_options",
    "TaskComparison": "prefect_cvat.evaluation.comparison.task_comparison",
    "TaskEvaluation": "prefect_cvat.evaluation.task_evaluation",
    "TaskLabel": "prefect_cvat.auto_annotation.labels_for_factories",
    "TaskLabelAttribute": "prefect_cvat.auto_annotation.labels_for_factories",
    "TrackOptions": "prefect_cvat.options.track_options",
    "UndoReport": "prefect_cvat.upload.undo_annotations",
    "annotate_task": "prefect_cvat.runs.annotate_task",
    "compare_task": "prefect_cvat.evaluation.comparison.task_comparison",
    "evaluate_task": "prefect_cvat.evaluation.task_evaluation",
    "export_task": "prefect_cvat.export.task",
    "learn_task": "prefect_cvat.learning.learn_task",
    "refine_task": "prefect_cvat.runs.refine_task",
    "track_task": "prefect_cvat.runs.track_task",
    "undo_run": "prefect_cvat.upload.undo_annotations",
}


def __getattr__(name: str) -> Any:
    if name in ("exceptions", "models"):
        return import_module(f"prefect_cvat.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
