"""The records by which CVAT knows functions, as Nuclio's dashboard would give them.

Facts of CVAT 2.73: one invalid record empties the whole list. `annotations.spec` is a text with JSON. The
version of an interactor must be "2", or its button is disabled. `startswith_box` (a box is needed) and
`startswith_box_optional` (a box is taken) are true for any text, so they are left out where they are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from prefect_cvat.gateway.configuration import ServedFunction
from prefect_cvat.gateway.descriptions import FunctionDescription
from prefect_cvat.gateway.shown_labels import ShownLabel, label_records

__all__ = ["WHOLE_TASKS", "function_record"]

WHOLE_TASKS = (
    "For whole tasks run `prefect-cvat annotate`: CVAT's own automatic annotation stores no confidence,"
    " deletes first, ends at the first error, and doubles annotations when it is repeated."
)
"""What the description of a detector says; a gateway cannot prevent it."""

_KINDS = {"detector": "Detection", "interactor": "Interaction", "tracker": "Tracking"}


def function_record(
    entry: ServedFunction,
    description: FunctionDescription,
    shown: Mapping[int, ShownLabel],
    *,
    port: int,
) -> dict[str, Any]:
    """The record of a function.

    Args:
        entry: Its entry in the configuration.
        description: What is known of it.
        shown: The labels of a detector, as CVAT shows them.
        port: The port of the gateway. With CVAT_NUCLIO_INVOKE_METHOD=direct CVAT sends calls there without
            the function's name, and its user reads what to set; without a port he would read nothing.

    Raises:
        ValueError: The labels cannot be shown.
    """
    about = entry.description or f"{_KINDS[description.kind]} by {entry.name}, of prefect-cvat."
    help_text = entry.help_text
    annotations = {"name": entry.title or entry.name, "type": description.kind, "spec": "", "version": "2"}
    if description.kind == "detector":
        annotations["spec"] = json.dumps(
            [{"id": number, **label} for number, label in enumerate(label_records(description.labels, shown))]
        )
        about = f"{about} {WHOLE_TASKS}"
        help_text = f"{help_text} {WHOLE_TASKS}".strip()
    elif description.kind == "interactor":
        annotations["min_pos_points"] = str(description.min_pos_points)
        if description.min_neg_points is not None:
            annotations["min_neg_points"] = str(description.min_neg_points)
        if description.min_bounding_boxes is not None:
            needs_box = description.min_bounding_boxes > 0
            annotations["startswith_box" if needs_box else "startswith_box_optional"] = "true"
    else:
        annotations["supported_shape_types"] = ",".join(description.shape_types)
    if help_text:
        annotations["help_message"] = help_text
    return {
        "metadata": {"name": entry.name, "annotations": annotations},
        "spec": {"description": about},
        "status": {"state": "ready", "httpPort": port},
    }
