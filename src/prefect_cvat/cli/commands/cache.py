"""The command `cache`: detections that are kept between runs."""

from __future__ import annotations

from prefect_cvat.cli.command import command, command_group
from prefect_cvat.cli.console import stdout
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.messages.plurals import pluralize

__all__ = ["cache"]


@command
def show_cache() -> None:
    """Show where detections are kept, and how many."""
    cache = DetectionCache()
    count, size = cache.size()
    stdout.print(
        f"{cache.folder}: {pluralize(count, 'entry', 'entries')}, {size / 2**20:.1f} MiB", markup=False
    )


@command
def clear_cache() -> None:
    """Delete all detections that are kept."""
    stdout.print(f"{pluralize(DetectionCache().clear(), 'entry', 'entries')} deleted", markup=False)


cache = command_group("cache", "Detections that are kept between runs.", show=show_cache, clear=clear_cache)
