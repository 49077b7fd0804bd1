"""The command `cache`: cached detections, and models converted for OpenVINO."""

from __future__ import annotations

from prefect_cvat.auto_annotation.functions._openvino_cache import converted_models
from prefect_cvat.cli.command import command, command_group
from prefect_cvat.cli.console import stdout
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.messages.plurals import pluralize

__all__ = ["cache"]


@command
def show_cache() -> None:
    """Show the folders of cached detections and converted models, and their numbers of entries."""
    for cache in (DetectionCache(), converted_models()):
        count, size = cache.size()
        stdout.print(
            f"{cache.folder}: {pluralize(count, 'entry', 'entries')}, {size / 2**20:.1f} MiB", markup=False
        )


@command
def clear_cache() -> None:
    """Delete all cached detections and converted models."""
    count = sum(cache.clear() for cache in (DetectionCache(), converted_models()))
    stdout.print(f"{pluralize(count, 'entry', 'entries')} deleted", markup=False)


cache = command_group(
    "cache", "Show or clear cached detections and converted models.", show=show_cache, clear=clear_cache
)
