"""Auto-annotation functions: what they are made of, and what runs one on a task."""

from prefect_cvat.auto_annotation import annotate, exceptions, factories, interface, refine, track
from prefect_cvat.auto_annotation.annotate import *  # noqa: F403
from prefect_cvat.auto_annotation.exceptions import *  # noqa: F403
from prefect_cvat.auto_annotation.factories import *  # noqa: F403
from prefect_cvat.auto_annotation.interface import *  # noqa: F403
from prefect_cvat.auto_annotation.refine import *  # noqa: F403
from prefect_cvat.auto_annotation.track import *  # noqa: F403

__all__ = [
    *annotate.__all__,
    *exceptions.__all__,
    *factories.__all__,
    *interface.__all__,
    *refine.__all__,
    *track.__all__,
]
