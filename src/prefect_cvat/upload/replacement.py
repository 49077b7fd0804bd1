"""What is to go from a job at the end of a run, when what takes its place is known to be on the server.

That is what `existing` says, but only what was there before the run, on frames of which everything that was
written is there; what an earlier run has left doubled; and originals, the shapes that were refined or
followed. What somebody has changed since stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from prefect_cvat.annotations.duplicates import AttributeDefaults, identity
from prefect_cvat.annotations.request_bodies import ServerAnnotation, frames_of, kind_of
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.existing import Existing
from prefect_cvat.planning.annotated_frames import shown_ranges
from prefect_cvat.records.annotation_index import Stored, StoredIndex, StoredMap
from prefect_cvat.records.record_writer import AnnotationId

__all__ = ["Removal", "Replacement"]


class Removal(NamedTuple):
    """What a look at the job has shown.

    Attributes:
        to_go: What is still to go, in the order in which it is to go, as much as was asked for.
        changed: How many annotations stay that `existing` would have removed, because somebody has drawn or
            changed them since the run began.
        not_replaced: How many stay because what takes their place is missing.
        gone: By how many ids the job held what the run wants, and does no longer.
    """

    to_go: list[ServerAnnotation]
    changed: int
    not_replaced: int
    gone: int


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
        self._frames = NumberSet()
        self._missing = NumberSet()
        self._originals = StoredMap()
        self._doubled = StoredMap()
        self._doubled_before = StoredMap()

    @property
    def is_needed(self) -> bool:
        """Whether anything may have to go."""
        return bool(self._originals or self._doubled or self._doubled_before or self._frames)

    def cover(self, frames: Iterable[int]) -> None:
        """Everything is written on these frames: what was there before may go."""
        if self._existing is not Existing.KEEP:
            self._frames.update(frames)

    def add_originals(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Name what is to go whatever `existing` says, as the server told it."""
        self._originals.update(
            (kind_of(annotation), annotation["id"], identity(annotation, self._defaults))
            for annotation in originals
        )

    def add_duplicates(self, doubled: Iterable[Stored]) -> None:
        """Name what an earlier run has left too often."""
        self._doubled.update(doubled)

    def verified(self, missing_frames: Iterable[int], doubled: Iterable[Stored]) -> None:
        """Take what a verification of the job has shown.

        Args:
            missing_frames: Frames on which something is missing that was written: nothing goes from these.
            doubled: What an earlier run has left there too often.
        """
        self._missing = NumberSet(missing_frames)
        self._doubled_before = StoredMap(doubled)

    def clear(self) -> None:
        """What was named is gone, or stays for good."""
        self._originals.clear()
        self._doubled.clear()
        self._doubled_before.clear()

    def select(
        self,
        on_server: Iterable[ServerAnnotation],
        most: int,
        *,
        replaceable: Mapping[AnnotationId, bytes],
        kept: Collection[AnnotationId],
        wanted: StoredIndex,
    ) -> Removal:
        """Look through the job for what is still to go.

        Args:
            on_server: All that the job holds.
            most: How much is taken at a time.
            replaceable: What was there before the run and is to be replaced, by what it said then.
            kept: What was there before the run and is not to be replaced.
            wanted: By which ids the job holds what the run wants.
        """
        first: list[ServerAnnotation] = []
        last: list[ServerAnnotation] = []
        changed = not_replaced = 0
        originals = self._originals.index
        named_to_go = StoredIndex(  # of those with the same id, the last one counts
            self._doubled.records, self._doubled_before.records, self._originals.records
        )
        is_seen = bytearray(len(wanted))
        for kind, annotation in on_server:
            key = (kind, annotation["id"])
            if (place := wanted.place(key)) >= 0 and not is_seen[place]:
                is_seen[place] = 1
                continue
            named = named_to_go.get(key)
            digest = named or replaceable.get(key)
            if digest is None:
                is_new = key not in kept
                changed += is_new and self._existing.removes(annotation) and self._is_covered(annotation)
                continue
            if named is None and not self._is_covered(annotation):
                continue
            if digest != identity(annotation, self._defaults):
                changed += 1
            elif self._missing and self._is_shown_on_missing(annotation):
                not_replaced += 1
            else:
                pile = last if key in originals else first
                if len(pile) < most:
                    pile.append((kind, annotation))
        # originals last: once they are gone, no later run would look for what the job holds doubled
        return Removal([*first, *last][:most], changed, not_replaced, is_seen.count(0))

    def _is_covered(self, annotation: Mapping[str, Any]) -> bool:
        if "shapes" not in annotation:
            return annotation["frame"] in self._frames
        return all(frame in self._frames for frame in frames_of(annotation)) and all(
            frame in self._frames or frame in self._deleted for frame in self._shown(annotation)
        )

    def _is_shown_on_missing(self, annotation: Mapping[str, Any]) -> bool:
        return any(frame in self._missing for frame in self._shown(annotation))

    def _shown(self, annotation: Mapping[str, Any]) -> Iterator[int]:
        for begin, end in shown_ranges(annotation, self._last_frame):
            yield from range(begin, min(end, self._last_frame + 1))
