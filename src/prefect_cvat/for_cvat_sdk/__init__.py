"""Runs functions in CVAT's own tools: `cvat-cli`, its agents, and `cvat_sdk.auto_annotation`.

As a module it is a function for `cvat-cli`, which calls `create`:

    cvat-cli task auto-annotate 12 --function-module prefect_cvat.for_cvat_sdk -p name=str:nanodet_detection
"""

from prefect_cvat.extras import import_library

import_library("cvat_sdk", "prefect_cvat.for_cvat_sdk", extra="cvat-sdk")

from prefect_cvat.for_cvat_sdk.functions import as_cvat_sdk, create  # noqa: E402 (after the check)

__all__ = ["as_cvat_sdk", "create"]
