"""What of a job's annotations was there before a run, what the run has added, and what is there twice.

Knows no server. It is shown what is to be written, and, as often as the job is read, what stands there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from prefect_cvat.annotation_requests import Standing
from prefect_cvat.identity import AttributeDefaults, identity
from prefect_cvat.run_record import AnnotationId

__all__ = ["JobAccount", "Stored", "Surplus", "Waiting"]

Waiting: TypeAlias = tuple[bytes, dict[str, Any]]
"""An annotation that is to be sent, and its identity."""

Stored: TypeAlias = tuple[str, int, bytes]
"""What has arrived: its kind, its id, its identity as it is stored."""


class Surplus(NamedTuple):
    """What is to become of annotations that a job holds too often.

    Attributes:
        stays: Those of this run that are not too many.
        goes: Those of this run that are.
        of_before: Those that are too many and were there before: an earlier run has doubled them.
    """

    stays: list[Stored]
    goes: list[Standing]
    of_before: list[AnnotationId]


class JobAccount:
    """Keeps account of one job: annotations are known by what they say (`identity.py`), and by their ids.

    Args:
        sources: The sources of what the run writes. What is of another source is never taken for its own.
        defaults: The attribute values that the server fills in by itself.

    Attributes:
        already_there: How many of the annotations to write stood there already.
    """

    def __init__(self, sources: Collection[str], defaults: AttributeDefaults) -> None:
        self.already_there = 0
        self._sources = frozenset(sources)
        self._defaults = defaults
        self._baseline: set[AnnotationId] | None = None
        self._reusable: Counter[bytes] = Counter()
        self._reused: Counter[bytes] = Counter()
        self._written: Counter[bytes] = Counter()
        self._added_ids: dict[str, list[range]] = {"tags": [], "shapes": [], "tracks": []}
        self._waiting: dict[object, list[Waiting]] = {}

    def digest(self, annotation: Mapping[str, Any]) -> bytes | None:
        """What to know an annotation by that a run like this one may have made; None for any other."""
        if annotation.get("source") not in self._sources:
            return None
        return identity(annotation, self._defaults)

    # --- before the first write ---

    @property
    def has_baseline(self) -> bool:
        """Whether it is known what was there before."""
        return self._baseline is not None

    def take_baseline(self, standing: Iterable[Standing]) -> set[AnnotationId]:
        """Remember all that stands in the job before the run writes to it."""
        baseline: set[AnnotationId] = set()
        for kind, annotation in standing:
            baseline.add((kind, annotation["id"]))
            if (digest := self.digest(annotation)) is not None:
                self._reusable[digest] += 1
        self._baseline = baseline
        return baseline

    def was_there(self, key: AnnotationId) -> bool:
        """Whether an annotation was there before the run."""
        return self._baseline is not None and key in self._baseline

    # --- writing ---

    def waiting(self, part: object, annotations: Iterable[dict[str, Any]]) -> list[Waiting]:
        """What of a part of the work is yet to be sent; the same list whenever the same part is named."""
        if part not in self._waiting:
            self._waiting[part] = list(self._not_there_yet(annotations))
        return self._waiting[part]

    def _not_there_yet(self, annotations: Iterable[dict[str, Any]]) -> Iterator[Waiting]:
        for annotation in annotations:
            digest = identity(annotation, self._defaults)
            if self._reusable[digest] > 0:
                self._reusable[digest] -= 1
                self._reused[digest] += 1
                self.already_there += 1
            else:
                yield digest, annotation

    def done(self, part: object) -> None:
        """Forget a part of which nothing waits any longer."""
        del self._waiting[part]

    def written(self, sent: Sequence[Waiting]) -> None:
        """Count what was sent and has arrived as it was sent."""
        self._written.update(digest for digest, _ in sent)

    def stored(self, standing: Iterable[Standing]) -> list[Stored]:
        """By what to know what the server says that it has stored."""
        return [
            (kind, annotation["id"], identity(annotation, self._defaults)) for kind, annotation in standing
        ]

    def remember_ids(self, added: Iterable[Stored]) -> None:
        """Remember the ids of what was added: that alone is kept when the job is verified."""
        for kind, annotation_id, _ in added:
            ranges = self._added_ids[kind]  # the server numbers what it stores one by one
            if ranges and ranges[-1].stop == annotation_id:
                ranges[-1] = range(ranges[-1].start, annotation_id + 1)
            else:
                ranges.append(range(annotation_id, annotation_id + 1))

    def find_arrived(self, standing: Iterable[Standing]) -> list[Stored]:
        """Find what waits and turns out to have arrived; that is counted as written, and waits no longer.

        Args:
            standing: All that stands in the job.
        """
        unaccounted: dict[bytes, list[AnnotationId]] = {}
        for kind, annotation in standing:
            key = (kind, annotation["id"])
            if not self.was_there(key) and (digest := self.digest(annotation)) is not None:
                unaccounted.setdefault(digest, []).append(key)
        for digest, ids in unaccounted.items():
            del ids[: self._written[digest]]  # these have been accounted for before
        arrived: list[Stored] = []
        for waiting in self._waiting.values():
            still_waiting = []
            for digest, annotation in waiting:
                if ids := unaccounted.get(digest, []):
                    arrived.append((*ids.pop(), digest))
                    self._written[digest] += 1
                else:
                    still_waiting.append((digest, annotation))
            waiting[:] = still_waiting
        return arrived

    # --- when all of the job is written ---

    def wanted(self) -> Counter[bytes]:
        """How many of each the run wants to stand in the job, written by it or found there."""
        return self._written + self._reused

    def find_surplus(self, standing: Iterable[Standing], doubled: Collection[bytes]) -> Surplus:
        """Leave of what is there too often as many as are wanted, those of before first.

        Args:
            standing: All that stands in the job.
            doubled: What is there too often.
        """
        equal: dict[bytes, list[Standing]] = {}
        for kind, annotation in standing:
            if (digest := self.digest(annotation)) is not None and digest in doubled:
                equal.setdefault(digest, []).append((kind, annotation))
        surplus = Surplus([], [], [])
        wanted = self.wanted()
        for digest, found in equal.items():
            found.sort(key=lambda item: not self.was_there((item[0], item[1]["id"])))
            for number, (kind, annotation) in enumerate(found):
                key = (kind, annotation["id"])
                if number < wanted[digest]:
                    if not self.was_there(key):
                        surplus.stays.append((*key, digest))
                elif self.was_there(key):
                    surplus.of_before.append(key)
                else:
                    surplus.goes.append((kind, annotation))
        return surplus

    def forget(self) -> None:
        """Forget what the annotations say; their ids are kept."""
        for what_they_say in (self._written, self._reusable, self._reused):
            what_they_say.clear()

    # --- undoing ---

    @property
    def may_have_added(self) -> bool:
        """Whether the run can have added anything, also by what has not been heard of since."""
        return any(self._added_ids.values()) or bool(self._ours())

    def pick_added(self, standing: Iterable[Standing]) -> list[Standing]:
        """Of all that stands in the job, what the run has added and nobody has corrected."""
        ours = self._ours()
        ids = {kind: {i for part in ranges for i in part} for kind, ranges in self._added_ids.items()}
        return [
            (kind, annotation)
            for kind, annotation in standing
            if not self.was_there((kind, annotation["id"]))
            and (digest := self.digest(annotation)) is not None
            and (annotation["id"] in ids[kind] or digest in ours)
        ]

    def _ours(self) -> Counter[bytes]:
        """What was written or may have arrived since."""
        return self._written + Counter(digest for waiting in self._waiting.values() for digest, _ in waiting)
