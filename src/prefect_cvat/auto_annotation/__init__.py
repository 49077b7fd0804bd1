"""Auto-annotation functions: the interface for their authors, and, lazily imported, the runs on a task."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from prefect_cvat.auto_annotation import exceptions, factories, interface
from prefect_cvat.auto_annotation.exceptions import *  # noqa: F403
from prefect_cvat.auto_annotation.factories import *  # noqa: F403
from prefect_cvat.auto_annotation.interface import *  # noqa: F403
from prefect_cvat.auto_annotation.label_prompts import LabelPrompts, prompts_for_labels
from prefect_cvat.auto_annotation.labels_for_factories import TaskLabel, TaskLabelAttribute

if TYPE_CHECKING:
    from prefect_cvat.runs.annotate_task import annotate_task
    from prefect_cvat.runs.refine_task import refine_task
    from prefect_cvat.runs.track_task import track_task

__all__ = [
    *exceptions.__all__,
    *factories.__all__,
    *interface.__all__,
    "LabelPrompts",
    "TaskLabel",
    "TaskLabelAttribute",
    "annotate_task",
    "prompts_for_labels",
    "refine_task",
    "track_task",
]

# Modules of functions import this package, so it must not import the runs.
_LAZY = {
    "annotate_task": "prefect_cvat.runs.annotate_task",
    "refine_task": "prefect_cvat.runs.refine_task",
    "track_task": "prefect_cvat.runs.track_task",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
