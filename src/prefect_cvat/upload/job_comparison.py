"""Comparing what a job holds with what a run wants it to hold. Knows neither a server nor files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from prefect_cvat.annotations.request_bodies import ServerAnnotation
from prefect_cvat.records.annotation_index import IdentityIndex, StoredAnnotation, StoredIndex
from prefect_cvat.records.record_writer import AnnotationId

__all__ = ["Comparison", "compare"]


@dataclass
class Comparison:
    """What a job holds, compared with what a run wants it to hold.

    Attributes:
        absent: The wanted annotations that the job does not hold, and nothing equal either.
        unseen: The number of wanted annotations whose id the job does not hold, with or without something
            equal.
        created: Annotations of the run that it had taken for lost, and that take the place of unseen ones.
        substitutes: Equal annotations, present before the run or of others, that take the place of unseen
            ones.
        replaced_ids: The unseen annotations whose place these two take.
        duplicates_before: Annotations that were present before the run more often than they are wanted.
        surplus: Annotations of the run that it had taken for lost, and that are not needed.
        doubled_by_others: The number of annotations of others that are equal to some that the run has added.
        added: The number of annotations that the run has added and the job holds.
        already_there: The number of wanted annotations that the job holds and the run has not added.
    """

    absent: list[StoredAnnotation] = field(default_factory=list)
    unseen: int = 0
    created: list[StoredAnnotation] = field(default_factory=list)
    substitutes: list[StoredAnnotation] = field(default_factory=list)
    replaced_ids: list[StoredAnnotation] = field(default_factory=list)
    duplicates_before: list[StoredAnnotation] = field(default_factory=list)
    surplus: list[StoredAnnotation] = field(default_factory=list)
    doubled_by_others: int = 0
    added: int = 0
    already_there: int = 0


def compare(
    on_server: Iterable[ServerAnnotation],
    *,
    added: StoredIndex,
    reused: StoredIndex,
    wanted: IdentityIndex,
    lost: Collection[AnnotationId],
    before: StoredIndex,
    identity: Callable[[Mapping[str, Any]], bytes | None],
) -> Comparison:
    """Compare what a job holds with what a run wants it to hold.

    Args:
        on_server: All annotations of the job.
        added: What the run has added and has not taken for lost.
        reused: What was present before the run and is wanted by it: each as often as it was noted.
        wanted: All of these by identity.
        lost: The ids of annotations that the run has added and has taken for lost.
        before: All that was present before the run.
        identity: The identity of an annotation; None for one that the run cannot have made.
    """
    result = Comparison()
    is_added_seen, is_reused_seen = bytearray(len(added)), bytearray(len(reused))
    spare_before: dict[bytes, list[StoredAnnotation]] = {}
    spare_own: dict[bytes, list[StoredAnnotation]] = {}
    spare_others: dict[bytes, list[StoredAnnotation]] = {}
    for kind, annotation in on_server:
        key = (kind, annotation["id"])
        if _is_first(added.place(key), is_added_seen) or _is_first(reused.place(key), is_reused_seen):
            continue
        identity_before = before.get(key)
        if identity_before is not None and identity_before not in wanted:
            continue
        digest = identity(annotation)
        if digest is None or digest not in wanted:
            continue
        if identity_before is not None:
            spare_before.setdefault(digest, []).append((*key, digest))
        elif key in lost:
            spare_own.setdefault(digest, []).append((*key, digest))
        else:
            spare_others.setdefault(digest, []).append((*key, digest))
    unseen_added = _unseen(is_added_seen)
    unseen_reused = [place for place in _unseen(is_reused_seen) for _ in range(reused.count_at(place))]
    result.added = len(added) - len(unseen_added)
    result.already_there = reused.total - len(unseen_reused)
    result.unseen = len(unseen_added) + len(unseen_reused)
    unseen = chain(
        ((added.key_at(place), added.identity_at(place)) for place in unseen_added),
        ((reused.key_at(place), reused.identity_at(place)) for place in unseen_reused),
    )
    for key, digest in unseen:
        if own := spare_own.get(digest):
            result.created.append(own.pop(0))
            result.added += 1
        elif spare := spare_before.get(digest) or spare_others.get(digest):
            result.substitutes.append(spare.pop(0))
            result.already_there += 1
        else:
            result.absent.append((*key, digest))
            continue
        result.replaced_ids.append((*key, digest))
    result.duplicates_before = _all_of(spare_before)
    result.surplus = _all_of(spare_own)
    result.doubled_by_others = len(_all_of(spare_others))
    return result


def _is_first(place: int, is_seen: bytearray) -> bool:
    """Whether there is an annotation at a place that was not seen before; it has been seen then."""
    if place < 0 or is_seen[place]:
        return False
    is_seen[place] = 1
    return True


def _unseen(is_seen: bytearray) -> list[int]:
    return [place for place, seen in enumerate(is_seen) if not seen]


def _all_of(by_identity: Mapping[bytes, Sequence[StoredAnnotation]]) -> list[StoredAnnotation]:
    return [stored for each in by_identity.values() for stored in each]
