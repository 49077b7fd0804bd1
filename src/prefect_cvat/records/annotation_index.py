"""Sorted arrays of annotation ids and content digests, 20 to 50 bytes per annotation.

A job may have all annotations of a large task; a dict would take hundreds of bytes for each.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableSet, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from prefect_cvat.number_set import NumberSet
from prefect_cvat.records.record_writer import ISSUES, AnnotationId

__all__ = ["AnnotationIds", "IdentityIndex", "StoredAnnotation", "StoredIndex", "StoredMap", "StoredRecords"]

StoredAnnotation: TypeAlias = tuple[str, int, bytes]
"""An annotation on the server: kind, id, and identity (the digest of its content)."""

if TYPE_CHECKING:
    Rows: TypeAlias = npt.NDArray[np.void]

_KINDS = ("tags", "shapes", "tracks", ISSUES)
_CODES = {kind: code for code, kind in enumerate(_KINDS)}
_RECORD = struct.Struct("<Bq12s")
_ROW = np.dtype([("kind", "u1"), ("id", "<i8"), ("first", "<u8"), ("rest", "<u4")])
"""The same record as a NumPy type; the identity is split into two integers for sorting."""

_IDENTITY = struct.Struct("<QI")


class StoredRecords:
    """Annotations in insertion order, 21 bytes each."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = data

    @staticmethod
    def pack(annotations: Iterable[StoredAnnotation]) -> bytes:
        """Pack annotations as records of 21 bytes."""
        return b"".join(
            _RECORD.pack(_CODES[kind], number, identity) for kind, number, identity in annotations
        )

    def __len__(self) -> int:
        return len(self.data) // _RECORD.size

    def __iter__(self) -> Iterator[StoredAnnotation]:
        for code, number, identity in _RECORD.iter_unpack(self.data):
            yield _KINDS[code], number, identity

    def duplicates(self) -> StoredRecords:
        """The annotations whose content equals that of an earlier one."""
        rows = self.rows
        order = np.lexsort((rows["rest"], rows["first"]))  # a stable order of equal identities
        firsts, rests = rows["first"][order], rows["rest"][order]
        is_doubled = (firsts[1:] == firsts[:-1]) & (rests[1:] == rests[:-1])
        return StoredRecords(rows[np.sort(order[1:][is_doubled])].tobytes())

    @property
    def rows(self) -> Rows:
        """The records as a structured array."""
        return np.frombuffer(self.data, dtype=_ROW)


class StoredMap:
    """A map from ids to identities, about 50 bytes each.

    It is sorted at the first lookup after an update, so updates and lookups should not alternate.
    """

    def __init__(self, annotations: Iterable[StoredAnnotation] = ()) -> None:
        self._data = bytearray()
        self._index: StoredIndex | None = None
        self.update(annotations)

    def update(self, annotations: Iterable[StoredAnnotation]) -> None:
        """Add annotations; a later one replaces an earlier one with the same id."""
        self._data += StoredRecords.pack(annotations)
        self._index = None

    def clear(self) -> None:
        """Remove all annotations."""
        self._data.clear()
        self._index = None

    @property
    def index(self) -> StoredIndex:
        """The annotations as a sorted index."""
        if self._index is None:
            self._index = StoredIndex(self.records)
        return self._index

    @property
    def records(self) -> StoredRecords:
        """The annotations, in insertion order."""
        return StoredRecords(bytes(self._data))

    def __bool__(self) -> bool:
        return bool(self._data)


class StoredIndex(Mapping[AnnotationId, bytes]):
    """The identities of annotations by their ids, 24 bytes each.

    Args:
        records: The annotations; a later one replaces an earlier one with the same id.
        exclude: Ids to leave out.
    """

    __slots__ = ("_counts", "_ends", "_firsts", "_ids", "_rests")

    def __init__(self, *records: StoredRecords, exclude: Collection[AnnotationId] = ()) -> None:
        rows = _rows(records, exclude)
        rows = rows[np.lexsort((rows["id"], rows["kind"]))]  # a stable order of equal ids
        is_last = np.ones(len(rows), dtype=bool)
        is_last[:-1] = (rows["id"][1:] != rows["id"][:-1]) | (rows["kind"][1:] != rows["kind"][:-1])
        ends = np.flatnonzero(is_last)
        counts = np.diff(ends, prepend=-1)
        rows = rows[ends]
        kinds = np.searchsorted(rows["kind"], np.arange(len(_KINDS) + 1))
        self._ends = {kind: (int(kinds[code]), int(kinds[code + 1])) for kind, code in _CODES.items()}
        self._ids = array("q", np.ascontiguousarray(rows["id"]).tobytes())
        self._firsts = array("Q", np.ascontiguousarray(rows["first"]).tobytes())
        self._rests = array("I", np.ascontiguousarray(rows["rest"]).tobytes())
        self._counts = array("I", counts.astype(np.uint32).tobytes())

    def place(self, key: AnnotationId) -> int:
        """The index of an annotation, from 0; -1 if it is not contained."""
        begin, end = self._ends[key[0]]
        if begin == end:
            return -1
        place = bisect_left(self._ids, key[1], begin, end)
        return place if place < end and self._ids[place] == key[1] else -1

    def key_at(self, place: int) -> AnnotationId:
        """The id of the annotation at an index."""
        kind = next(kind for kind, (begin, end) in self._ends.items() if begin <= place < end)
        return kind, self._ids[place]

    def identity_at(self, place: int) -> bytes:
        """The identity of the annotation at an index."""
        return _IDENTITY.pack(self._firsts[place], self._rests[place])

    def count_at(self, place: int) -> int:
        """How often the annotation at an index was added."""
        return self._counts[place]

    @property
    def total(self) -> int:
        """The number of added annotations, including those with the same id."""
        return sum(self._counts)

    def __getitem__(self, key: AnnotationId) -> bytes:
        if (place := self.place(key)) < 0:
            raise KeyError(key)
        return self.identity_at(place)

    def get(self, key: AnnotationId, default: Any = None) -> Any:
        """The identity of an annotation, or the default; fast for missing ids."""
        return default if (place := self.place(key)) < 0 else self.identity_at(place)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and self.place(key) >= 0

    def __iter__(self) -> Iterator[AnnotationId]:
        for kind, (begin, end) in self._ends.items():
            yield from ((kind, number) for number in self._ids[begin:end])

    def __len__(self) -> int:
        return len(self._ids)


class IdentityIndex:
    """The ids of annotations by their identities, 25 bytes each; equal ones are ordered by kind and id.

    Args:
        records: The annotations.
        exclude: Ids to leave out.
    """

    __slots__ = ("_firsts", "_ids", "_kinds", "_rests", "_taken")

    def __init__(self, *records: StoredRecords, exclude: Collection[AnnotationId] = ()) -> None:
        rows = _rows(records, exclude)
        rows = rows[np.lexsort((rows["id"], rows["kind"], rows["rest"], rows["first"]))]
        self._firsts = array("Q", np.ascontiguousarray(rows["first"]).tobytes())
        self._rests = array("I", np.ascontiguousarray(rows["rest"]).tobytes())
        self._ids = array("q", np.ascontiguousarray(rows["id"]).tobytes())
        self._kinds = rows["kind"].tobytes()
        self._taken = array(
            "I", bytes(4 * len(rows))
        )  # at the first of equal identities: how many have been popped

    def _place(self, identity: bytes) -> int:
        """The index of the first annotation with an identity; -1 if there is none."""
        first, rest = _IDENTITY.unpack(identity)
        begin = bisect_left(self._firsts, first)
        end = bisect_right(self._firsts, first, begin)
        place = bisect_left(self._rests, rest, begin, end)
        return place if place < end and self._rests[place] == rest else -1

    def __contains__(self, identity: bytes) -> bool:
        return self._place(identity) >= 0

    def __len__(self) -> int:
        return len(self._ids)

    def pop(self, identity: bytes) -> AnnotationId | None:
        """Remove and return the next annotation with an identity; None if there are no more."""
        if (first := self._place(identity)) < 0:
            return None
        place = first + self._taken[first]
        if place >= len(self._ids) or (self._firsts[place], self._rests[place]) != _IDENTITY.unpack(identity):
            return None
        self._taken[first] += 1
        return _KINDS[self._kinds[place]], self._ids[place]


def _rows(records: Sequence[StoredRecords], exclude: Collection[AnnotationId]) -> Rows:
    rows: Rows = np.concatenate([each.rows for each in records])
    if exclude:
        keys = ((kind, number) for each in records for kind, number, _ in each)
        rows = rows[np.fromiter((key not in exclude for key in keys), dtype=bool, count=len(rows))]
    return rows


class AnnotationIds(MutableSet[AnnotationId]):
    """A set of ids of annotations of all kinds.

    Args:
        ids: The ids.
    """

    __slots__ = ("_by_kind",)

    def __init__(self, ids: Iterable[AnnotationId] = ()) -> None:
        self._by_kind: dict[str, NumberSet] = {}
        self.update(ids)

    def add(self, key: AnnotationId) -> None:
        """Add an id."""
        self._by_kind.setdefault(key[0], NumberSet()).add(key[1])

    def discard(self, key: AnnotationId) -> None:
        """Remove an id, if it is contained."""
        if key[0] in self._by_kind:
            self._by_kind[key[0]].discard(key[1])

    def update(self, ids: Iterable[AnnotationId]) -> None:
        """Add ids."""
        for key in ids:
            self.add(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and key[1] in self._by_kind.get(key[0], ())

    def __iter__(self) -> Iterator[AnnotationId]:
        return ((kind, number) for kind, numbers in self._by_kind.items() for number in numbers)

    def __len__(self) -> int:
        return sum(map(len, self._by_kind.values()))
