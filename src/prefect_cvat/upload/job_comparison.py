"""What a job holds, compared with what a run wants it to hold.

Knows neither a server nor files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

from prefect_cvat.annotations.request_bodies import ServerAnnotation
from prefect_cvat.records.annotation_index import IdentityIndex, Stored, StoredIndex
from prefect_cvat.records.record_writer import AnnotationId

__all__ = ["AbandonedRequests", "Comparison", "PendingRequest", "Waiting", "compare"]

Waiting: TypeAlias = tuple[bytes, dict[str, Any]]
"""An annotation that is to be sent, and its identity."""


@dataclass
class PendingRequest:
    """A request whose fate is unknown.

    Attributes:
        identities: Of the annotations in it.
        waiting: The list that they are the first of.
        after: The highest id of each kind that was known when it was sent.
        until: The time (`time.monotonic`) by which the server has carried it out, or never will.
    """

    identities: Counter[bytes]
    waiting: list[Waiting]
    after: Mapping[str, int]
    until: float = 0.0

    def is_newer(self, key: AnnotationId) -> bool:
        """Whether an annotation came after all that was known when the request was sent."""
        return key[1] > self.after.get(key[0], 0)


@dataclass
class Comparison:
    """What a job holds, compared with what a run wants it to hold.

    Attributes:
        absent: What is not there, and nothing that is equal: ids by which it was known, and what it said.
        unseen: By how many ids what the run wants is not there any more, also where something equal is.
        doubled_before: What was there too often before the run: all but as many as are wanted.
        created: What had been taken for lost, and takes the place of what is unseen.
        substitutes: What others have there that is equal, and takes the place of what is unseen.
        replaced_ids: What these two take the place of.
        surplus: What had been taken for lost, and is too much.
        doubled_by_others: How many others have added that are equal to what the run has added.
        added: How many of those that the run has added are there.
        already_there: How many are there that the run did not need to add.
    """

    absent: list[Stored] = field(default_factory=list)
    unseen: int = 0
    created: list[Stored] = field(default_factory=list)
    substitutes: list[Stored] = field(default_factory=list)
    replaced_ids: list[Stored] = field(default_factory=list)
    doubled_before: list[Stored] = field(default_factory=list)
    surplus: list[Stored] = field(default_factory=list)
    doubled_by_others: int = 0
    added: int = 0
    already_there: int = 0


class AbandonedRequests:
    """Requests that have been given up, and may yet be carried out. To be asked about a job once.

    Args:
        writes: The requests.
    """

    def __init__(self, writes: Iterable[PendingRequest]) -> None:
        self._left = [(write, write.identities.copy()) for write in writes]

    def may_have_created(self, key: AnnotationId) -> bool:
        """Whether an annotation is new enough to have come with one of them."""
        return any(write.is_newer(key) for write, _ in self._left)

    def take_created(self, key: AnnotationId, digest: bytes) -> bool:
        """Whether an annotation has come with one of them; that counts once."""
        for write, left in self._left:
            if left[digest] > 0 and write.is_newer(key):
                left[digest] -= 1
                return True
        return False


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
        on_server: All that the job holds.
        added: What the run has added and has not taken for lost.
        reused: What was there before the run, and stands for what it would have added: each for as many
            annotations as it was noted.
        wanted: All of these by what they say.
        lost: What the run has taken for lost, of what the server has told it the ids.
        before: All that was there before the run.
        identity: What an annotation says; None for what the run cannot have made.
    """
    result = Comparison()
    is_added_seen, is_reused_seen = bytearray(len(added)), bytearray(len(reused))
    spare_before: dict[bytes, list[Stored]] = {}
    spare_own: dict[bytes, list[Stored]] = {}
    spare_others: dict[bytes, list[Stored]] = {}
    for kind, annotation in on_server:
        key = (kind, annotation["id"])
        if _is_first(added.place(key), is_added_seen) or _is_first(reused.place(key), is_reused_seen):
            continue
        said_before = before.get(key)
        if said_before is not None and said_before not in wanted:
            continue
        digest = identity(annotation)
        if digest is None or digest not in wanted:
            continue
        if said_before is not None:
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
    gone = chain(
        ((added.key_at(place), added.identity_at(place)) for place in unseen_added),
        ((reused.key_at(place), reused.identity_at(place)) for place in unseen_reused),
    )
    for key, digest in gone:
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
    result.doubled_before = _all_of(spare_before)
    result.surplus = _all_of(spare_own)
    result.doubled_by_others = len(_all_of(spare_others))
    return result


def _is_first(place: int, is_seen: bytearray) -> bool:
    """Whether there is something at a place that was not seen before; it is then."""
    if place < 0 or is_seen[place]:
        return False
    is_seen[place] = 1
    return True


def _unseen(is_seen: bytearray) -> list[int]:
    return [place for place, seen in enumerate(is_seen) if not seen]


def _all_of(by_identity: Mapping[bytes, Sequence[Stored]]) -> list[Stored]:
    return [stored for each in by_identity.values() for stored in each]
