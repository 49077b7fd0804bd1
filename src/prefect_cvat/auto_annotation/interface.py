"""The interface of functions in one module, as in `cvat_sdk.auto_annotation` (2.80).

A function written for one runs with the other. A function here may offer more, see
`BatchedDetectionFunction`.
"""

from __future__ import annotations

from prefect_cvat.auto_annotation import detection, existing_shapes, interaction, tracking
from prefect_cvat.auto_annotation.detection import *  # noqa: F403
from prefect_cvat.auto_annotation.existing_shapes import *  # noqa: F403
from prefect_cvat.auto_annotation.interaction import *  # noqa: F403
from prefect_cvat.auto_annotation.tracking import *  # noqa: F403

__all__ = [*detection.__all__, *existing_shapes.__all__, *interaction.__all__, *tracking.__all__]
