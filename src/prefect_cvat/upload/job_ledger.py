"""Tracks the annotations of one job in a run: present before it, added by it, not yet sent.

It makes no requests: callers pass the annotations to write, and the annotations of the job each time they
read it.

Once the server has returned the id of an annotation, that id identifies it. The content
(`annotations/content_digest.py`) identifies it in two cases only: before the run writes anything, to find the
annotations of an earlier run; and after a request of unknown outcome, among annotations with higher ids than
all ids known when the request was sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from prefect_cvat.annotations.content_digest import AttributeDefaults, content_digest
from prefect_cvat.annotations.request_bodies import SerializedAnnotation, ServerAnnotation
from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.spooled_file import MemoryShare
from prefect_cvat.records.annotation_index import (
    AnnotationIds,
    IdentityIndex,
    StoredAnnotation,
    StoredIndex,
)
from prefect_cvat.records.record_writer import AnnotationId
from prefect_cvat.upload.annotation_files import NewAnnotation, NewAnnotationFile, StoredAnnotationFile
from prefect_cvat.upload.baseline import Baseline
from prefect_cvat.upload.job_comparison import Comparison, compare
from prefect_cvat.upload.sending.unknown_outcomes import AbandonedRequests, PendingRequest

__all__ = ["JobLedger"]


class JobLedger:
    """The annotations of one job, as far as a run knows, in files that are read when needed.

    Args:
        folder: The folder for its files.
        job_id: The id of the job, which prefixes the names of the files.
        sources: The sources of the annotations that the run writes.
        defaults: The attribute values that the server fills in.
        recognizes_refined: Whether a shape refined from a detection (`refined_shapes.py`) counts as the
            detection.
        share: The memory that its files may take instead.

    Attributes:
        newest: The highest known annotation id, by kind.
        baseline: The annotations of the job before the run.
        unsent: Annotations that were not in the job before the run, and have not been sent.
        to_resend: Annotations missing in the job, to send again.
    """

    def __init__(
        self,
        folder: Path,
        job_id: int,
        sources: Collection[str],
        defaults: AttributeDefaults,
        *,
        recognizes_refined: bool = False,
        share: MemoryShare | None = None,
    ) -> None:
        self.newest: dict[str, int] = {"tags": 0, "shapes": 0, "tracks": 0}
        self.baseline = Baseline(folder, job_id, defaults, recognizes_refined=recognizes_refined, share=share)
        self.unsent: list[NewAnnotation] = []
        self.to_resend: list[NewAnnotation] = []
        self._sources = frozenset(sources)
        self._defaults = defaults
        self._added = StoredAnnotationFile(folder / f"{job_id}-added", share)
        self._reused = StoredAnnotationFile(folder / f"{job_id}-reused", share)
        self._lost = StoredAnnotationFile(folder / f"{job_id}-lost", share)
        self._found = StoredAnnotationFile(folder / f"{job_id}-found", share)
        self._bodies = NewAnnotationFile(folder / f"{job_id}-bodies", share)
        self._abandoned: list[PendingRequest] = []

    def identity(self, annotation: Mapping[str, Any]) -> bytes:
        """The digest of the content of an annotation of the job."""
        return content_digest(annotation, self._defaults)

    # --- writing ---

    def read_baseline(
        self, on_server: Iterable[ServerAnnotation], is_replaceable: Callable[[Mapping[str, Any]], bool]
    ) -> None:
        """Store all annotations of the job before the run writes to the task, see `Baseline.read`."""
        self.baseline.read(on_server, is_replaceable)
        self.newest = dict(self.baseline.newest)

    @property
    def reused(self) -> int:
        """The number of wanted annotations that were present before the run."""
        return len(self._reused)

    def want(self, annotations: Iterable[SerializedAnnotation]) -> list[NewAnnotation]:
        """Accept all annotations to write, or none on an error; return those to send.

        Raises:
            StorageError: The files cannot be written.
        """
        wanted = [NewAnnotation(self.identity(from_json(body.json)), body) for body in annotations]
        new = self._without_present(wanted) if wanted else []
        self.unsent += new
        return new

    def _without_present(self, wanted: Sequence[NewAnnotation]) -> list[NewAnnotation]:
        """The annotations without a match in the job before the run."""
        match = self.baseline.match(wanted, lambda: _ids(self._reused))
        try:
            self._bodies.extend([*match.bodies, *((each.identity, each) for each in match.new)])
            self._reused.extend(match.reused)
        except StorageError:
            self.baseline.withdraw_match()
            raise
        self.baseline.confirm_match()
        return match.new

    # --- requests and what they create ---

    def pending_request(self, part: Sequence[NewAnnotation], unsent: list[NewAnnotation]) -> PendingRequest:
        """A request about to be sent: its outcome is unknown until the server answers."""
        return PendingRequest(Counter(each.identity for each in part), unsent, dict(self.newest))

    def stored(self, on_server: Iterable[ServerAnnotation]) -> list[StoredAnnotation]:
        """The kinds, ids and identities of annotations that the server has returned."""
        return [(kind, annotation["id"], self.identity(annotation)) for kind, annotation in on_server]

    def note_added(self, added: Sequence[StoredAnnotation]) -> None:
        """Store the ids that the server has given to annotations of the run."""
        self._added.extend(added)
        for kind, annotation_id, _ in added:
            self.newest[kind] = max(self.newest[kind], annotation_id)

    def find_created(
        self, on_server: Iterable[ServerAnnotation], request: PendingRequest
    ) -> list[StoredAnnotation]:
        """Find the annotations that a request of unknown outcome has created.

        Args:
            on_server: All annotations of the job.
            request: The request.
        """
        remaining = request.identities.copy()
        created: list[StoredAnnotation] = []
        for kind, annotation in on_server:
            key = (kind, annotation["id"])
            digest = self._identity_of_ours(annotation) if request.is_newer(key) else None
            if digest is not None and remaining[digest] > 0:
                remaining[digest] -= 1
                created.append((*key, digest))
        return created

    def note_created(self, created: Sequence[StoredAnnotation], request: PendingRequest) -> None:
        """Store what a request has created, and remove it from the annotations to send."""
        self._found.extend(created)
        counts = Counter(digest for _, _, digest in created)
        unsent: list[NewAnnotation] = []
        for annotation in request.unsent:
            if counts[annotation.identity] > 0:
                counts[annotation.identity] -= 1
            else:
                unsent.append(annotation)
        request.unsent[:] = unsent

    def abandon(self, request: PendingRequest) -> None:
        """Stop waiting for a request; if it is executed after all, its annotations belong to the run."""
        self._abandoned.append(request)

    def _identity_of_ours(self, annotation: Mapping[str, Any]) -> bytes | None:
        """The identity of an annotation; None if the run does not write its source."""
        return self.identity(annotation) if annotation.get("source") in self._sources else None

    # --- verification, after the last write ---

    @property
    def wants_anything(self) -> bool:
        """Whether the run wants any annotation in the job, or may have created one."""
        return bool(len(self._added) or len(self._reused) or self._abandoned)

    def wanted(self, absent: Iterable[AnnotationId]) -> StoredIndex:
        """The annotations that the run wants in the job, without the absent ones."""
        lost = _ids(self._lost)
        lost.update(absent)
        return StoredIndex(self._added.records, self._reused.records, exclude=lost)

    def compare(self, on_server: Iterable[ServerAnnotation] | None) -> Comparison:
        """Compare the annotations of the job with those the run wants there.

        Args:
            on_server: All annotations of the job; None if they are those from before the run.
        """
        identity = self._identity_of_ours
        if on_server is None:
            on_server = ((kind, {"id": number, "identity": known}) for kind, number, known in self.baseline)
            identity = _known_identity
        lost = _ids(self._lost)
        found = _ids(self._found)
        added, reused = self._added.records, self._reused.records
        return compare(
            on_server,
            added=StoredIndex(added, exclude=lost),
            reused=StoredIndex(reused, exclude=lost),
            wanted=IdentityIndex(added, reused, exclude=lost),
            lost=AnnotationIds(key for key in lost if key not in found),
            before=self.baseline.all(),
            identity=identity,
        )

    def resend(self, absent: Sequence[StoredAnnotation]) -> list[NewAnnotation]:
        """Consider absent annotations lost, and add their bodies to `to_resend`; return that list."""
        to_resend = [*self.to_resend, *self.bodies(absent)]
        self._lost.extend(absent)
        self.to_resend[:] = to_resend
        return self.to_resend

    def accept_substitutes(self, comparison: Comparison) -> None:
        """Accept equal annotations in place of wanted ones that are no longer in the job."""
        self._lost.extend(comparison.replaced_ids)
        self._reused.extend(comparison.substitutes)

    def bodies(self, wanted: Iterable[StoredAnnotation]) -> Iterator[NewAnnotation]:
        """The bodies of annotations that the run wants in the job."""
        return self._bodies.find(digest for _, _, digest in wanted)

    # --- undo ---

    @property
    def may_have_added(self) -> bool:
        """Whether the run may have added anything, including by a request of unknown outcome."""
        return bool(len(self._added) or self._abandoned)

    def added_ids(self) -> AnnotationIds:
        """The ids that the server has given to annotations of the run."""
        return _ids(self._added)

    def own_annotations(self) -> Callable[[str, Mapping[str, Any]], bool]:
        """A function that returns whether the run has added an annotation, and nobody has changed it since.

        It counts the annotations it recognizes, so each reading of the job needs a new one.
        """
        added = StoredIndex(self._added.records)
        abandoned = AbandonedRequests(self._abandoned)

        def is_own(kind: str, annotation: Mapping[str, Any]) -> bool:
            key = (kind, annotation["id"])
            known: bytes | None = added.get(key)
            if known is not None:
                return known == self.identity(annotation)
            if not abandoned.may_have_created(key):
                return False
            digest = self._identity_of_ours(annotation)
            return digest is not None and abandoned.take_created(key, digest)

        return is_own


def _known_identity(annotation: Mapping[str, Any]) -> bytes | None:
    identity: bytes = annotation["identity"]
    return identity


def _ids(annotations: Iterable[StoredAnnotation]) -> AnnotationIds:
    return AnnotationIds((kind, annotation_id) for kind, annotation_id, _ in annotations)
