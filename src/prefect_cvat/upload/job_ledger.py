"""What of a job's annotations was there before a run, what the run has added, and what is missing or doubled.

Knows no server. It is shown what is to be written, and, as often as the job is read, what the job holds.

What the server has given an id to is known by that id. Its content (`duplicates.py`) identifies one
only before the run has written anything, to recognize what an earlier run has left, and of a request whose
fate is unknown: then it must be newer than all that was known when the request was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from prefect_cvat.annotations.duplicates import AttributeDefaults, identity
from prefect_cvat.annotations.request_bodies import ServerAnnotation
from prefect_cvat.records.annotation_index import AnnotationIds, IdentityIndex, Stored, StoredIndex
from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.annotation_files import NewAnnotationFile, StoredAnnotationFile
from prefect_cvat.upload.job_comparison import AbandonedRequests, Comparison, PendingRequest, Waiting, compare
from prefect_cvat.upload.refined_shapes import RefinedShapes, refined_shapes

__all__ = ["JobLedger"]

PART = 1000
"""How many annotations of a job are noted at a time."""


class JobLedger:
    """Keeps account of one job. What is known of it lies on disk, and is in memory only while it is at work.

    Args:
        folder: Where its files lie.
        job_id: The job; its files are called by it.
        sources: The sources of what the run writes.
        defaults: The attribute values that the server fills in by itself.
        recognizes_refined: Whether one that was refined from a detection (`refined_shapes.py`) replaces it.
    """

    def __init__(
        self,
        folder: Path,
        job_id: int,
        sources: Collection[str],
        defaults: AttributeDefaults,
        *,
        recognizes_refined: bool = False,
    ) -> None:
        self.newest: dict[str, int] = {"tags": 0, "shapes": 0, "tracks": 0}
        self.has_baseline = False
        self._sources = frozenset(sources)
        self._defaults = defaults
        self._replaceable = StoredAnnotationFile(folder / f"{job_id}-replaceable")
        self._kept = StoredAnnotationFile(folder / f"{job_id}-kept")
        self._added = StoredAnnotationFile(folder / f"{job_id}-added")
        self._reused = StoredAnnotationFile(folder / f"{job_id}-reused")
        self._lost = StoredAnnotationFile(folder / f"{job_id}-lost")
        self._found = StoredAnnotationFile(folder / f"{job_id}-found")
        self._bodies = NewAnnotationFile(folder / f"{job_id}-bodies")
        self._refined = RefinedShapes(folder / f"{job_id}-refined") if recognizes_refined else None
        self._reusable: IdentityIndex | None = None
        self._waiting: dict[object, list[Waiting]] = {}
        self.to_resend: list[Waiting] = []
        self._abandoned: list[PendingRequest] = []

    def identity(self, annotation: Mapping[str, Any]) -> bytes:
        """What an annotation of the job says, in short."""
        return identity(annotation, self._defaults)

    # --- before the first write ---

    def take_baseline(
        self, on_server: Iterable[ServerAnnotation], is_replaceable: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        """Remember all that the job holds before the run writes to the task.

        Args:
            on_server: All that the job holds.
            is_replaceable: Tells what the run is to replace.
        """
        for log in (self._replaceable, self._kept, self._refined):
            if log is not None:
                log.clear()  # a reading before may have failed
        on_server = iter(on_server)
        while part := list(islice(on_server, PART)):
            replaceable: list[Stored] = []
            kept: list[Stored] = []
            refined: list[tuple[bytes, dict[str, Any]]] = []
            for kind, annotation in part:
                stored = kind, annotation["id"], self.identity(annotation)
                (replaceable if is_replaceable(annotation) else kept).append(stored)
                self.newest[kind] = max(self.newest[kind], annotation["id"])
                if self._refined is not None:
                    refined += ((stored[2], shape) for shape in refined_shapes(kind, annotation))
            self._replaceable.extend(replaceable)
            self._kept.extend(kept)
            if self._refined is not None:
                self._refined.extend(refined)
        self.has_baseline = True

    def replaceable(self) -> StoredIndex:
        """What was there before the run and is to be replaced."""
        return StoredIndex(self._replaceable.records)

    def kept(self) -> StoredIndex:
        """What was there before the run and is not to be replaced."""
        return StoredIndex(self._kept.records)

    # --- writing ---

    def waiting(self, part: object, annotations: Iterable[dict[str, Any]]) -> list[Waiting]:
        """What of a part of the work is yet to be sent; the same list whenever the same part is named."""
        if part not in self._waiting:
            wanted = list(annotations)
            self._waiting[part] = self._not_there_yet(wanted) if wanted else []
        return self._waiting[part]

    def _not_there_yet(self, annotations: Sequence[dict[str, Any]]) -> list[Waiting]:
        reusable = self._load_reusable()
        new: list[Waiting] = []
        bodies: list[Waiting] = []
        reused: list[Stored] = []
        used: Counter[bytes] = Counter()
        for annotation in annotations:
            digest = self.identity(annotation)
            if (found := reusable.find(digest, used[digest])) is not None:
                reused.append((*found, digest))
                bodies.append((digest, annotation))
                used[digest] += 1
            else:
                new.append((digest, annotation))
        if self._refined is not None:
            new = self._not_refined(new, reused, bodies)
        self._bodies.extend([*bodies, *new])
        self._reused.extend(reused)
        for digest, count in used.items():  # only now: had the disk failed, this would be done again
            reusable.take(digest, count)
        return new

    def _not_refined(self, new: list[Waiting], reused: list[Stored], bodies: list[Waiting]) -> list[Waiting]:
        """Leave out for what something is there that a machine has made of it."""
        assert self._refined is not None
        equal = {stored[:2] for stored in reused}
        left: list[Waiting] = []
        for digest, annotation in new:
            if (refined := self._refined.take(annotation, equal)) is None:
                left.append((digest, annotation))
            else:
                reused.append(refined)
                # to be sent if what was made of it is gone, and once more if it then is gone itself
                bodies += ((refined[2], annotation), (digest, annotation))
        return left

    def _load_reusable(self) -> IdentityIndex:
        if self._reusable is None:
            self._reusable = IdentityIndex(
                self._replaceable.records, self._kept.records, but=_ids(self._reused)
            )
        return self._reusable

    @property
    def reused(self) -> int:
        """How many of the annotations to write were there before the run."""
        return len(self._reused)

    def done(self, part: object) -> None:
        """Forget a part of which nothing waits any longer."""
        del self._waiting[part]

    def free_memory(self) -> None:
        """Keep as little in memory as may be, until there is more to write."""
        self._reusable = None
        if self._refined is not None:
            self._refined.free_memory()

    def pending_request(self, part: Sequence[Waiting], waiting: list[Waiting]) -> PendingRequest:
        """A request that is about to be sent: nothing is known of its fate until it is answered."""
        return PendingRequest(Counter(digest for digest, _ in part), waiting, dict(self.newest))

    def stored(self, on_server: Iterable[ServerAnnotation]) -> list[Stored]:
        """What the server says that it has stored."""
        return [(kind, annotation["id"], self.identity(annotation)) for kind, annotation in on_server]

    def note_added(self, added: Sequence[Stored]) -> None:
        """Remember the ids that the server has given to what the run has added."""
        self._added.extend(added)
        for kind, number, _ in added:
            self.newest[kind] = max(self.newest[kind], number)

    def find_created(self, on_server: Iterable[ServerAnnotation], write: PendingRequest) -> list[Stored]:
        """Find what a request has brought whose fate is unknown.

        Args:
            on_server: All that the job holds.
            write: The request.
        """
        left = write.identities.copy()
        created: list[Stored] = []
        for kind, annotation in on_server:
            digest = self._identity_of_ours(annotation) if write.is_newer((kind, annotation["id"])) else None
            if digest is not None and left[digest] > 0:
                left[digest] -= 1
                created.append((kind, annotation["id"], digest))
        return created

    def note_created(self, created: Sequence[Stored], write: PendingRequest) -> None:
        """What a request has brought, by what it says, waits no longer."""
        self._found.extend(created)
        found = Counter(digest for _, _, digest in created)
        still_waiting: list[Waiting] = []
        for digest, annotation in write.waiting:
            if found[digest] > 0:
                found[digest] -= 1
            else:
                still_waiting.append((digest, annotation))
        write.waiting[:] = still_waiting

    def abandon(self, write: PendingRequest) -> None:
        """Take a request for lost; if it is carried out after all, what it brings is the run's own."""
        self._abandoned.append(write)

    def _identity_of_ours(self, annotation: Mapping[str, Any]) -> bytes | None:
        """What an annotation says, if it is of a source that the run writes."""
        return self.identity(annotation) if annotation.get("source") in self._sources else None

    # --- when all of the job is written ---

    @property
    def wants_anything(self) -> bool:
        """Whether the run wants anything to be in the job, or may have brought anything there."""
        return bool(len(self._added) or len(self._reused) or self._abandoned)

    def wanted(self, absent: Iterable[AnnotationId]) -> StoredIndex:
        """By which ids the job holds what the run wants, but for those that are absent."""
        lost = _ids(self._lost)
        lost.update(absent)
        return StoredIndex(self._added.records, self._reused.records, but=lost)

    def compare(self, on_server: Iterable[ServerAnnotation]) -> Comparison:
        """Compare what the job holds with what the run wants it to hold.

        Args:
            on_server: All that the job holds.
        """
        lost = _ids(self._lost)
        added, reused = self._added.records, self._reused.records
        return compare(
            on_server,
            added=StoredIndex(added, but=lost),
            reused=StoredIndex(reused, but=lost),
            wanted=IdentityIndex(added, reused, but=lost),
            lost=_without(lost, self._found),
            before=StoredIndex(self._replaceable.records, self._kept.records),
            identity=self._identity_of_ours,
        )

    def lost(self, absent: Sequence[Stored]) -> list[Waiting]:
        """Take annotations for lost; return them to be sent again.

        Args:
            absent: As `compare` has told them.
        """
        waiting = [*self.to_resend, *self.bodies(absent)]
        self._lost.extend(absent)
        self.to_resend[:] = waiting
        return self.to_resend

    def accept_substitutes(self, comparison: Comparison) -> None:
        """Take what is there in the place of something else for wanted; that is too much if it is seen again.

        Args:
            comparison: What `compare` has shown.
        """
        self._lost.extend(comparison.replaced_ids)
        self._reused.extend(comparison.substitutes)

    def bodies(self, wanted: Iterable[Stored]) -> Iterable[Waiting]:
        """Annotations that the run wants, as they are sent; each with its own identity.

        Args:
            wanted: Which annotations: ids by which they were known, and what they said.
        """
        left = Counter(digest for _, _, digest in wanted)
        missing = left.total()
        for digest, annotation in self._bodies if missing else ():
            if left[digest] > 0:
                left[digest] -= 1
                missing -= 1
                yield self.identity(annotation), annotation
            if not missing:
                return

    # --- undoing ---

    @property
    def may_have_added(self) -> bool:
        """Whether the run can have added anything, also by what has not been heard of since."""
        return bool(len(self._added) or self._abandoned)

    def added_ids(self) -> AnnotationIds:
        """The ids that the server has given to what the run has added."""
        return _ids(self._added)

    def own_annotations(self) -> Callable[[str, Mapping[str, Any]], bool]:
        """What tells what the run has added and nobody has changed; to be asked about a job once."""
        added = StoredIndex(self._added.records)
        abandoned = AbandonedRequests(self._abandoned)

        def is_ours(kind: str, annotation: Mapping[str, Any]) -> bool:
            key = (kind, annotation["id"])
            known: bytes | None = added.get(key)
            if known is not None:
                return known == self.identity(annotation)
            if not abandoned.may_have_created(key):
                return False
            digest = self._identity_of_ours(annotation)
            return digest is not None and abandoned.take_created(key, digest)

        return is_ours


def _ids(log: Iterable[Stored]) -> AnnotationIds:
    return AnnotationIds((kind, number) for kind, number, _ in log)


def _without(ids: AnnotationIds, log: Iterable[Stored]) -> AnnotationIds:
    found = _ids(log)
    return AnnotationIds(key for key in ids if key not in found)
