"""Auto-annotation of CVAT tasks with machine-learning models, orchestrated by Prefect."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_cvat import models
    from prefect_cvat.auto_annotation.annotate import annotate_task
    from prefect_cvat.auto_annotation.refine import refine_task
    from prefect_cvat.auto_annotation.track import track_task
    from prefect_cvat.client import Client
    from prefect_cvat.exceptions import PrefectCvatError
    from prefect_cvat.follow_options import FollowOptions
    from prefect_cvat.track_options import TrackOptions
    from prefect_cvat.undo import undo_run

__all__ = [
    "Client",
    "FollowOptions",
    "PrefectCvatError",
    "TrackOptions",
    "annotate_task",
    "models",
    "refine_task",
    "track_task",
    "undo_run",
]

# Loaded at first use: `import prefect_cvat` takes milliseconds.
_LAZY = {
    "Client": "prefect_cvat.client",
    "FollowOptions": "prefect_cvat.follow_options",
    "PrefectCvatError": "prefect_cvat.exceptions",
    "TrackOptions": "prefect_cvat.track_options",
    "annotate_task": "prefect_cvat.auto_annotation.annotate",
    "refine_task": "prefect_cvat.auto_annotation.refine",
    "track_task": "prefect_cvat.auto_annotation.track",
    "undo_run": "prefect_cvat.undo",
}


def __getattr__(name: str) -> Any:
    if name == "models":
        return import_module("prefect_cvat.models")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
