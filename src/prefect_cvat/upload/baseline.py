"""The annotations of a job before a run, and which of the annotations to write are among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from prefect_cvat.annotations.content_digest import AttributeDefaults, content_digest
from prefect_cvat.annotations.request_bodies import ServerAnnotation
from prefect_cvat.files.spooled_file import MemoryShare
from prefect_cvat.records.annotation_index import IdentityIndex, StoredAnnotation, StoredIndex
from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.annotation_files import NewAnnotation, StoredAnnotationFile
from prefect_cvat.upload.refined_shapes import RefinedShapes

__all__ = ["Baseline", "Match"]

BLOCK = 1000
"""The number of annotations written to a file at a time."""


class Match(NamedTuple):
    """Annotations to write, compared with the baseline.

    Attributes:
        new: Annotations without a match in the job.
        reused: The annotations of the job that match the others.
        bodies: The others, each after the identity of its match.
    """

    new: list[NewAnnotation]
    reused: list[StoredAnnotation]
    bodies: list[tuple[bytes, NewAnnotation]]


class Baseline:
    """The annotations of a job before a run, in files.

    Args:
        folder: The folder for the files.
        job_id: The id of the job, which prefixes the names of the files.
        defaults: The attribute values that the server fills in.
        recognizes_refined: Whether a shape refined from a detection (`refined_shapes.py`) counts as the
            detection.
        share: The memory that its files may take instead.

    Attributes:
        is_known: Whether the job has been read.
        newest: The highest annotation id, by kind.
    """

    def __init__(
        self,
        folder: Path,
        job_id: int,
        defaults: AttributeDefaults,
        *,
        recognizes_refined: bool,
        share: MemoryShare | None = None,
    ) -> None:
        self.is_known = False
        self.newest: dict[str, int] = {"tags": 0, "shapes": 0, "tracks": 0}
        self._defaults = defaults
        self._replaceable = StoredAnnotationFile(folder / f"{job_id}-replaceable", share)
        self._kept = StoredAnnotationFile(folder / f"{job_id}-kept", share)
        self._refined = RefinedShapes(folder / f"{job_id}-refined", share) if recognizes_refined else None
        self._reusable: IdentityIndex | None = None

    def read(
        self, on_server: Iterable[ServerAnnotation], is_replaceable: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        """Store all annotations of the job.

        Args:
            on_server: All annotations of the job.
            is_replaceable: Whether the run replaces an annotation.

        Raises:
            StorageError: The files cannot be written.
        """
        for file in (self._replaceable, self._kept, self._refined):
            if file is not None:
                file.clear()  # an earlier attempt may have failed
        on_server = iter(on_server)
        while block := list(islice(on_server, BLOCK)):
            replaceable: list[StoredAnnotation] = []
            kept: list[StoredAnnotation] = []
            for kind, annotation in block:
                stored = kind, annotation["id"], content_digest(annotation, self._defaults)
                (replaceable if is_replaceable(annotation) else kept).append(stored)
                self.newest[kind] = max(self.newest[kind], annotation["id"])
                if self._refined is not None:
                    self._refined.add(stored, annotation)
            self._replaceable.extend(replaceable)
            self._kept.extend(kept)
            if self._refined is not None:
                self._refined.write()
        self.is_known = True

    def __iter__(self) -> Iterator[StoredAnnotation]:
        """All annotations present before the run."""
        return chain(self._replaceable, self._kept)

    def all(self) -> StoredIndex:
        """All annotations present before the run."""
        return StoredIndex(self._replaceable.records, self._kept.records)

    def replaceable(self) -> StoredIndex:
        """The annotations present before the run that it replaces."""
        return StoredIndex(self._replaceable.records)

    def kept(self) -> StoredIndex:
        """The annotations present before the run that it keeps."""
        return StoredIndex(self._kept.records)

    def match(
        self, annotations: Sequence[NewAnnotation], reused_ids: Callable[[], Collection[AnnotationId]]
    ) -> Match:
        """Match annotations with those present before the run; each of these matches one at most.

        Args:
            annotations: The annotations to write.
            reused_ids: Returns the ids of annotations present before the run that already match others.
        """
        if self._reusable is None:
            self._reusable = IdentityIndex(
                self._replaceable.records, self._kept.records, exclude=reused_ids()
            )
        match = Match([], [], [])
        if not len(self._reusable):
            match.new.extend(annotations)
            annotations = ()
        for annotation in annotations:
            digest = annotation.identity
            if (found := self._reusable.pop(digest)) is None:
                match.new.append(annotation)
            else:
                match.reused.append((*found, digest))
                match.bodies.append((digest, annotation))
        return match if self._refined is None else _with_refined(match, self._refined)

    def confirm_match(self) -> None:
        """Keep the last match: `reused_ids` now includes its annotations."""
        if self._refined is not None:
            self._refined.confirm_claims()

    def withdraw_match(self) -> None:
        """Discard the last match, which could not be stored; the caller matches again."""
        self._reusable = None
        if self._refined is not None:
            self._refined.withdraw_claims()

    def free_memory(self) -> None:
        """Free memory until there is more to write."""
        self._reusable = None
        if self._refined is not None:
            self._refined.free_memory()


def _with_refined(match: Match, refined_shapes: RefinedShapes) -> Match:
    """The same match, where a shape refined from an annotation also matches the annotation."""
    equal = {(kind, annotation_id) for kind, annotation_id, _ in match.reused}
    result = Match([], match.reused, match.bodies)
    for annotation in match.new:
        if (refined := refined_shapes.claim(annotation.body, equal)) is None:
            result.new.append(annotation)
        else:
            result.reused.append(refined)
            # sent if the refined shape is gone at the end, and again if the annotation is then gone too
            result.bodies.extend(((refined[2], annotation), (annotation.identity, annotation)))
    return result
