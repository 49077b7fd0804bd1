"""What is to go from a job at the end of a run, when what takes its place is known to be on the server.

That is what `existing` says, but only what was there before the run, on frames of which everything that was
written is there; what an earlier run has left doubled; and originals, the shapes that were refined or
followed. What somebody has changed since stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from prefect_cvat.annotations.duplicates import AttributeDefaults, identity
from prefect_cvat.annotations.request_bodies import Standing, frames_of, kind_of
from prefect_cvat.options.existing import Existing
from prefect_cvat.planning.annotated_frames import shown_frames
from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.job_logs import Stored

__all__ = ["Looked", "Replacement"]


class Looked(NamedTuple):
    """What a look at the job has shown.

    Attributes:
        to_go: What is still to go, in the order in which it is to go, as much as was asked for.
        changed: How many annotations stay that `existing` would have removed, because somebody has drawn or
            changed them since the run began.
        not_replaced: How many stay because what takes their place is missing.
        gone: By which ids the job held what the run wants, and does no longer.
    """

    to_go: list[Standing]
    changed: int
    not_replaced: int
    gone: set[AnnotationId]


class Replacement:
    """What is to go from one job.

    Args:
        existing: What becomes of what was there before the run.
        defaults: The attribute values that the server fills in by itself.
        last_frame: The last frame of the job: CVAT shows a track until it is outside, or to the end.
        deleted_frames: The deleted frames of the task, on which nobody sees a track.
    """

    def __init__(
        self,
        existing: Existing,
        defaults: AttributeDefaults,
        last_frame: int,
        deleted_frames: Collection[int] = (),
    ) -> None:
        self._deleted = frozenset(deleted_frames)
        self._existing = existing
        self._last_frame = last_frame
        self._defaults = defaults
        self._frames: set[int] = set()
        self._missing: frozenset[int] = frozenset()
        self._originals: dict[AnnotationId, bytes] = {}
        self._doubled: dict[AnnotationId, bytes] = {}
        self._named_doubled: dict[AnnotationId, bytes] = {}

    @property
    def is_needed(self) -> bool:
        """Whether anything may have to go."""
        return bool(
            self._originals or self._doubled or (self._existing is not Existing.KEEP and self._frames)
        )

    def cover(self, frames: Iterable[int]) -> None:
        """Everything is written on these frames: what was there before may go."""
        self._frames.update(frames)

    def take_originals(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Name what is to go whatever `existing` says, as the server told it."""
        for annotation in originals:
            key = (kind_of(annotation), annotation["id"])
            self._originals[key] = identity(annotation, self._defaults)

    def take_doubled(self, doubled: Iterable[Mapping[str, Any]]) -> None:
        """Name what an earlier run has left too often, as the server told it."""
        for annotation in doubled:
            key = (kind_of(annotation), annotation["id"])
            self._doubled[key] = self._named_doubled[key] = identity(annotation, self._defaults)

    def verified(self, missing_frames: Iterable[int], doubled: Iterable[Stored]) -> None:
        """Take what a verification of the job has shown.

        Args:
            missing_frames: Frames on which something is missing that was written: nothing goes from these.
            doubled: What an earlier run has left there too often.
        """
        self._missing = frozenset(missing_frames)
        self._doubled = {
            **self._named_doubled,
            **{(kind, number): digest for kind, number, digest in doubled},
        }

    def clear(self) -> None:
        """What was named is gone, or stays for good."""
        self._originals.clear()
        self._doubled.clear()
        self._named_doubled.clear()

    def look(
        self,
        standing: Iterable[Standing],
        most: int,
        *,
        replaceable: Mapping[AnnotationId, bytes],
        kept: Collection[AnnotationId],
        wanted: Collection[AnnotationId],
    ) -> Looked:
        """Look through the job for what is still to go.

        Args:
            standing: All that the job holds.
            most: How much is taken at a time.
            replaceable: What was there before the run and is to be replaced, by what it said then.
            kept: What was there before the run and is not to be replaced.
            wanted: By which ids the job holds what the run wants.
        """
        first: list[Standing] = []
        last: list[Standing] = []
        changed = not_replaced = 0
        gone = set(wanted)
        for kind, annotation in standing:
            key = (kind, annotation["id"])
            if key in gone:
                gone.discard(key)
                continue
            digest = self._originals.get(key) or self._doubled.get(key) or replaceable.get(key)
            if digest is None:
                is_new = key not in kept
                changed += is_new and self._existing.removes(annotation) and self._is_covered(annotation)
                continue
            is_named = key in self._originals or key in self._doubled
            if not is_named and not self._is_covered(annotation):
                continue
            if digest != identity(annotation, self._defaults):
                changed += 1
            elif not self._missing.isdisjoint(shown_frames(annotation, self._last_frame)):
                not_replaced += 1
            else:
                pile = last if key in self._originals else first
                if len(pile) < most:
                    pile.append((kind, annotation))
        # originals last: once they are gone, no later run would look for what the job holds doubled
        return Looked([*first, *last][:most], changed, not_replaced, gone)

    def _is_covered(self, annotation: Mapping[str, Any]) -> bool:
        if not self._frames.issuperset(frames_of(annotation)):
            return False
        return self._frames.issuperset(shown_frames(annotation, self._last_frame) - self._deleted)
