"""Detections cached between runs, so that a run that was interrupted can continue.

An entry holds the detections on the selected frames of one chunk. Its name is a digest of the media, the
function and its settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from prefect_cvat.files.file_cache import DEFAULT_SIZE_LIMIT, FileCache
from prefect_cvat.frames import FrameDetections
from prefect_cvat.messages.bounded_text import one_line
from prefect_cvat.models import LabeledImageRequest, LabeledShapeRequest
from prefect_cvat.settings import current_settings

__all__ = ["CachedDetections", "DetectionCache", "cache_folder"]

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
"""Changes when older entries can no longer be read or would have another meaning."""

MAX_ENTRY_BYTES = 256 * 2**20
"""Maximum size in bytes of the JSON of an entry."""


class _Entry(BaseModel):
    frame: int
    tags: list[LabeledImageRequest]
    shapes: list[LabeledShapeRequest]


_ENTRIES = TypeAdapter(list[_Entry])
_TAGS = TypeAdapter(list[LabeledImageRequest])
_SHAPES = TypeAdapter(list[LabeledShapeRequest])


def cache_folder() -> Path:
    """The folder of cached detections: `PREFECT_CVAT_CACHE_DIR`, or the user's cache folder."""
    return current_settings().cache_dir


class DetectionCache(FileCache):
    """Detections on disk.

    Args:
        folder: The folder of all caches.
        size_limit: Maximum size in bytes.
    """

    def __init__(self, folder: Path | None = None, *, size_limit: int = DEFAULT_SIZE_LIMIT) -> None:
        super().__init__(
            (folder or cache_folder()) / "detections", "the cached detections", size_limit=size_limit
        )

    @staticmethod
    def key(**parts: object) -> str:
        """The name of an entry: a digest of everything that its detections depend on."""
        text = json.dumps({"schema": SCHEMA_VERSION, **parts}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def get(
        self, key: str, check: Callable[[FrameDetections], FrameDetections] = lambda found: found
    ) -> list[FrameDetections] | None:
        """The detections under a key, or None. An entry that cannot be used is deleted.

        Args:
            key: The name of the entry.
            check: Returns detections that may be used, or raises a ValueError.
        """
        return self.read(key, lambda content: [check(item) for item in _parse(content)])

    def put(self, key: str, found: Sequence[FrameDetections]) -> None:
        """Store detections. If that fails, a warning is logged.

        Detections with values that JSON would change are not stored either: values without a label or
        attribute in the task were not checked.
        """
        try:
            entries = [
                {
                    "frame": item.frame,
                    "tags": _dumped(_TAGS, item.tags),
                    "shapes": _dumped(_SHAPES, item.shapes),
                }
                for item in found
            ]
        except PydanticSerializationError as error:
            logger.warning("detections cannot be cached: %s", one_line(str(error)))
            return
        self.write(key, zlib.compress(json.dumps(entries, separators=(",", ":")).encode(), 1))


def _dumped(adapter: TypeAdapter[Any], annotations: Sequence[object]) -> Any:
    return adapter.dump_python(annotations, mode="json", exclude_defaults=True, warnings="error")


def _parse(content: memoryview) -> list[FrameDetections]:
    """The detections of an entry.

    Raises:
        ValueError, zlib.error: The entry is invalid.
    """
    decompressor = zlib.decompressobj()
    entries = _ENTRIES.validate_json(decompressor.decompress(content, MAX_ENTRY_BYTES))
    return [FrameDetections(entry.frame, entry.tags, entry.shapes) for entry in entries]


class CachedDetections:
    """The cached detections of one function with one set of settings on one task.

    Args:
        cache: The cache.
        check: Returns detections that may be used, or raises a ValueError.
        refresh: Ignore existing entries, so that they are made again.
        parts: Everything besides chunk and frames that a detection depends on.
    """

    def __init__(
        self,
        cache: DetectionCache,
        check: Callable[[FrameDetections], FrameDetections],
        *,
        refresh: bool,
        **parts: object,
    ) -> None:
        self._cache = cache
        self._check = check
        self._refresh = refresh
        self._parts = parts

    def get(self, chunk: int, frames: Sequence[int]) -> list[FrameDetections] | None:
        """The cached detections on these frames of a chunk, or None."""
        if self._refresh:
            return None
        found = self._cache.get(self._key(chunk, frames), self._check)
        return found if found is not None and [item.frame for item in found] == list(frames) else None

    def has(self, chunk: int, frames: Sequence[int]) -> bool:
        """Whether there are cached detections on these frames of a chunk; they may yet be unusable."""
        return not self._refresh and self._cache.has(self._key(chunk, frames))

    def put(self, chunk: int, found: Sequence[FrameDetections]) -> None:
        """Store the detections on frames of a chunk, unless the function failed on one of them."""
        if all(item.error is None for item in found):
            self._cache.put(self._key(chunk, [item.frame for item in found]), found)

    def _key(self, chunk: int, frames: Sequence[int]) -> str:
        return self._cache.key(chunk=chunk, frames=list(frames), **self._parts)
