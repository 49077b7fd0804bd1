"""Auto-annotation of CVAT tasks with machine-learning models, orchestrated by Prefect."""

# auto_annotation comes first: it holds both what the library builds on (the interface) and what is
# built on the library (annotate_task, track_task, refine_task), and so must be the one to import the rest.
from prefect_cvat.auto_annotation import annotate_task, refine_task, track_task
from prefect_cvat.client import Client
from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.follow_run import FollowOptions
from prefect_cvat.track_options import TrackOptions
from prefect_cvat.undo import undo_run

from prefect_cvat import models  # isort: skip

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
