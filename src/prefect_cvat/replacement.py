"""What is to go from a job at the end of a run, when what takes its place stands.

That is what `existing` says, but only on frames of which everything has been written; what an earlier run has
left doubled; and originals, the shapes that were refined or followed. What somebody has changed since stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from prefect_cvat.annotation_requests import Standing, frames_of, kind_of
from prefect_cvat.existing import Existing
from prefect_cvat.identity import AttributeDefaults, identity
from prefect_cvat.run_record import AnnotationId

__all__ = ["Replacement"]


class Replacement:
    """What is to go from one job.

    Args:
        existing: What becomes of what stood there before the run.
        sources: The sources of what the run writes.
        defaults: The attribute values that the server fills in by itself.
    """

    def __init__(self, existing: Existing, sources: Collection[str], defaults: AttributeDefaults) -> None:
        self._existing = existing
        self._sources = frozenset(sources)
        self._defaults = defaults
        self._frames: set[int] = set()
        self._noted: set[AnnotationId] = set()
        self._originals: dict[AnnotationId, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._noted or self._originals)

    def cover(self, frames: Iterable[int]) -> None:
        """Everything is written on these frames: what was there may go."""
        self._frames.update(frames)

    def take_originals(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Name what is to go whatever `existing` says, as the server told it."""
        for annotation in originals:
            key = (kind_of(annotation), annotation["id"])
            self._originals[key] = identity(annotation, self._defaults)

    def note_if_replaced(self, kind: str, annotation: Mapping[str, Any]) -> None:
        """Note an annotation of before if it is to go; not from a frame that the run leaves out."""
        if self._existing.removes(annotation) and self._frames.issuperset(frames_of(annotation)):
            self._noted.add((kind, annotation["id"]))

    def note_doubled(self, keys: Iterable[AnnotationId]) -> None:
        """Note what an earlier run has left there too often."""
        self._noted.update(keys)

    def begin_again(self) -> None:
        """Forget what was noted: the job is about to be looked through anew."""
        self._noted.clear()

    def pick(self, standing: Iterable[Standing]) -> list[Standing]:
        """Of all that stands in the job, what is still to go, in the order in which it is to go."""
        picked = [item for item in standing if self._is_still_to_go(*item)]
        # originals last: once they are gone, no later run would look for what stands there doubled
        picked.sort(key=lambda item: (item[0], item[1]["id"]) in self._originals)
        return picked

    def _is_still_to_go(self, kind: str, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation that was to be removed still is: somebody may have corrected it."""
        key = (kind, annotation["id"])
        if key in self._originals:
            return identity(annotation, self._defaults) == self._originals[key]
        return key in self._noted and (
            self._existing is Existing.CLEAR or annotation.get("source") in self._sources
        )

    def forget_frames(self) -> None:
        """The job will not be looked through again."""
        self._frames.clear()

    def clear(self) -> None:
        """All that was to go is gone."""
        self._noted.clear()
        self._originals.clear()
