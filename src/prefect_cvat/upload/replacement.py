"""Chooses what to remove from a job at the end of a run, once its replacements are known to be there.

- Annotations that `existing` selects (`replace_auto` or `clear`), if present before the run and nothing is
  missing on their frames
- Duplicates left by an earlier run
- Originals: shapes that were refined or tracked

Annotations that somebody has changed since the run read them stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from prefect_cvat.annotations.content_digest import AttributeDefaults, content_digest
from prefect_cvat.annotations.request_bodies import ServerAnnotation, frames_of, kind_of
from prefect_cvat.number_set import NumberSet
from prefect_cvat.options.existing_annotation_options import Existing
from prefect_cvat.planning.annotated_frames import shown_ranges
from prefect_cvat.records.annotation_index import StoredAnnotation, StoredIndex, StoredMap
from prefect_cvat.records.record_writer import AnnotationId

__all__ = ["Removal", "Replacement"]


class Removal(NamedTuple):
    """What to remove, according to one reading of the job.

    Attributes:
        to_remove: The annotations to remove, in this order, at most `max_count`.
        changed: The number of annotations that `existing` would remove but that stay, because somebody has
            drawn or changed them since the run began.
        not_replaced: The number of annotations that stay because their replacements are missing.
        gone: The number of wanted annotations that are no longer in the job.
    """

    to_remove: list[ServerAnnotation]
    changed: int
    not_replaced: int
    gone: int


class Replacement:
    """Chooses what to remove from one job.

    Args:
        existing: Which annotations from before the run it replaces.
        defaults: The attribute values that the server fills in.
        last_frame: The last frame of the job: CVAT shows a track until it is outside or the job ends.
        deleted_frames: The deleted frames of the task: a track may be on them and still be removed.
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
        self._duplicates = StoredMap()
        self._duplicates_before = StoredMap()

    @property
    def is_needed(self) -> bool:
        """Whether anything may have to be removed."""
        return bool(self._originals or self._duplicates or self._duplicates_before or self._frames)

    def cover(self, frames: Iterable[int]) -> None:
        """Add completed frames: annotations present on them before the run may be removed."""
        if self._existing is not Existing.KEEP:
            self._frames.update(frames)

    def add_originals(self, originals: Iterable[Mapping[str, Any]]) -> None:
        """Add originals, as the server returned them; they are removed even if `existing` is `keep`."""
        self._originals.update(
            (kind_of(annotation), annotation["id"], content_digest(annotation, self._defaults))
            for annotation in originals
        )

    def add_duplicates(self, duplicates: Iterable[StoredAnnotation]) -> None:
        """Add duplicates left by an earlier run."""
        self._duplicates.update(duplicates)

    def verified(self, missing_frames: Iterable[int], duplicates: Iterable[StoredAnnotation]) -> None:
        """Use the result of a verification of the job.

        Args:
            missing_frames: Frames with a missing annotation: nothing is removed from them.
            duplicates: Duplicates left by an earlier run.
        """
        self._missing = NumberSet(missing_frames)
        self._duplicates_before = StoredMap(duplicates)

    def clear(self) -> None:
        """Forget originals and duplicates: they are removed, or stay."""
        self._originals.clear()
        self._duplicates.clear()
        self._duplicates_before.clear()

    def select(
        self,
        on_server: Iterable[ServerAnnotation],
        max_count: int,
        *,
        replaceable: Mapping[AnnotationId, bytes],
        kept: Collection[AnnotationId],
        wanted: StoredIndex,
    ) -> Removal:
        """Choose what to remove now.

        Args:
            on_server: All annotations of the job.
            max_count: Maximum number of annotations to choose.
            replaceable: The ids and identities of annotations from before the run that it replaces.
            kept: The ids of annotations from before the run that it keeps.
            wanted: The annotations that the run wants in the job.
        """
        first: list[ServerAnnotation] = []
        last: list[ServerAnnotation] = []
        changed = not_replaced = 0
        originals = self._originals.index
        named = StoredIndex(  # of those with the same id, the last one counts
            self._duplicates.records, self._duplicates_before.records, self._originals.records
        )
        is_seen = bytearray(len(wanted))
        for kind, annotation in on_server:
            key = (kind, annotation["id"])
            if (place := wanted.place(key)) >= 0 and not is_seen[place]:
                is_seen[place] = 1
                continue
            named_digest = named.get(key)
            digest = named_digest or replaceable.get(key)
            if digest is None:
                is_new = key not in kept
                changed += is_new and self._existing.removes(annotation) and self._is_covered(annotation)
                continue
            if named_digest is None and not self._is_covered(annotation):
                continue
            if digest != content_digest(annotation, self._defaults):
                changed += 1
            elif self._missing and self._is_shown_on_missing(annotation):
                not_replaced += 1
            else:
                chosen = last if key in originals else first
                if len(chosen) < max_count:
                    chosen.append((kind, annotation))
        # originals last: once they are gone, no later run looks for duplicates of their replacements
        return Removal([*first, *last][:max_count], changed, not_replaced, is_seen.count(0))

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
