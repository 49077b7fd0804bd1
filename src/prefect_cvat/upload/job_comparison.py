"""Compares the annotations of a job with those a run wants there; uses neither a server nor files."""

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
    """The annotations of a job, compared with those a run wants there.

    Attributes:
        absent: Wanted annotations that are not in the job, and have no equal there.
        unseen: The number of wanted annotations whose ids are not in the job, with or without an equal.
        created: Annotations of the run that it had considered lost, and that replace unseen ones.
        substitutes: Equal annotations, present before the run or added by others, that replace unseen ones.
        replaced_ids: The unseen annotations that `created` and `substitutes` replace.
        duplicates_before: Annotations present before the run more often than they are wanted.
        surplus: Annotations of the run that it had considered lost, and does not need.
        doubled_by_others: The number of annotations added by others that equal annotations of the run.
        added: The number of annotations in the job that the run has added.
        already_there: The number of wanted annotations in the job that the run has not added.
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
    """Compare the annotations of a job with those a run wants there.

    Args:
        on_server: All annotations of the job.
        added: Annotations that the run has added and does not consider lost.
        reused: Wanted annotations present before the run, each as often as it matched.
        wanted: `added` and `reused`, by identity.
        lost: The ids of annotations that the run has added and considers lost.
        before: All annotations present before the run.
        identity: Returns the identity of an annotation; None if the run cannot have created it.
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
    """Whether an index is valid and not seen before; marks it as seen."""
    if place < 0 or is_seen[place]:
        return False
    is_seen[place] = 1
    return True


def _unseen(is_seen: bytearray) -> list[int]:
    return [place for place, seen in enumerate(is_seen) if not seen]


def _all_of(by_identity: Mapping[bytes, Sequence[StoredAnnotation]]) -> list[StoredAnnotation]:
    return [stored for each in by_identity.values() for stored in each]
