"""The command `cache`: the cache of detections."""

from __future__ import annotations

from prefect_cvat.cli.command import command, command_group
from prefect_cvat.cli.console import stdout
from prefect_cvat.inference.detection_cache import DetectionCache
from prefect_cvat.messages.plurals import pluralize

__all__ = ["cache"]


@command
def show_cache() -> None:
    """Show the folder of the cache, and its number of entries."""
    cache = DetectionCache()
    count, size = cache.size()
    stdout.print(
        f"{cache.folder}: {pluralize(count, 'entry', 'entries')}, {size / 2**20:.1f} MiB", markup=False
    )


@command
def clear_cache() -> None:
    """Delete all cached detections."""
    stdout.print(f"{pluralize(DetectionCache().clear(), 'entry', 'entries')} deleted", markup=False)


cache = command_group("cache", "Show or clear the cache of detections.", show=show_cache, clear=clear_cache)
