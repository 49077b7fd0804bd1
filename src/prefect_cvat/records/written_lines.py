"""The format of the file with the content of the annotations that a run has written, beside its record.

The record itself has only ids and digests: `undo` needs no more. What people have corrected since can be told
only from what the run wrote. Each process of a run appends to a file of gzip members, one for each request,
with about 80 bytes for a box. A member has lines of three kinds::

    7 4f0c... shapes {"type":"rectangle",...}      the job, the identity, the kind, and what was sent
    - shapes 121 122                               ids that the run has replaced, or `undo` has removed
    frames 0-99,150                                the frames that the run has processed, at its end

What is sent is written before the request. So the file is complete wherever the run is interrupted, and an
annotation that was sent twice is in it twice.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable

from prefect_cvat.annotations.request_bodies import SerializedAnnotation
from prefect_cvat.number_ranges import NumberRanges

__all__ = ["FRAMES", "REMOVED", "SUFFIX", "frames_member", "removed_member", "written_member"]

SUFFIX = ".written.gz"
"""The suffix of the file, beside the file of the record."""

REMOVED = b"- "
"""The beginning of a line with ids of removed annotations."""

FRAMES = b"frames "
"""The beginning of a line with processed frames."""

_LEVEL = 1
"""Level of compression: the fastest."""


def written_member(job_id: int, annotations: Iterable[tuple[bytes, SerializedAnnotation]]) -> bytes:
    """The member for a request that adds annotations, each after its identity."""
    return _member(
        b"%d %b %b %b" % (job_id, identity.hex().encode(), body.kind.encode(), body.json)
        for identity, body in annotations
    )


def removed_member(removed: Iterable[tuple[str, int]]) -> bytes:
    """The member for removed annotations, by kind and id."""
    by_kind: dict[str, list[int]] = {}
    for kind, annotation_id in removed:
        by_kind.setdefault(kind, []).append(annotation_id)
    return _member(
        REMOVED + b"%b %b" % (kind.encode(), b" ".join(b"%d" % number for number in ids))
        for kind, ids in by_kind.items()
    )


def frames_member(frames: Iterable[int]) -> bytes:
    """The member for the frames that the run has processed."""
    ranges = NumberRanges.of(frames)
    return _member([FRAMES + ranges.describe(len(ranges)).replace(" ", "").encode()])


def _member(lines: Iterable[bytes]) -> bytes:
    return gzip.compress(b"".join(line + b"\n" for line in lines), _LEVEL)
