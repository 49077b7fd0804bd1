"""The number of entries in the index of an mp4, read before FFmpeg builds that index.

An mp4 can declare a billion samples in 20 bytes. FFmpeg allocates 24 bytes for each before it reads
the first (measured with FFmpeg 8: 2.8 GB of memory for a file of 5 kB). The places of the counts are
specified in ISO/IEC 14496-12.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_mp4_index"]

MAX_ENTRIES = 1_000_000
"""Maximum number of entries in an index. A chunk of CVAT has some dozens."""

MAX_BYTES = 64 * 2**20
"""Maximum size in bytes of an mp4 without its pictures."""

_COUNTS = re.compile(rb"stsz|stz2|trun|elst|cmov")
_OFFSETS = {b"stsz": 8, b"stz2": 8, b"trun": 4, b"elst": 4}
"""Where the count of each box is, in bytes from the end of its name."""


def check_mp4_index(path: Path) -> None:
    """Refuse an mp4 whose index would be large.

    Raises:
        ValueError: It would be large; the message gives its size.
        OSError: The file cannot be read.
    """
    samples = edits = 0
    for data in _boxes_without_pictures(path):
        # searched anywhere: FFmpeg also finds such boxes in wrong places
        for found in _COUNTS.finditer(data):
            name = found[0]
            if name == b"cmov":
                raise ValueError("its index is compressed")
            at = found.end() + _OFFSETS[name]
            [count] = struct.unpack_from(">I", data, at) if at + 4 <= len(data) else (0,)
            if name == b"elst":
                edits += count
            else:
                samples += count
    # FFmpeg repeats the index for each part that is shown
    if (entries := samples * max(1, edits)) > MAX_ENTRIES:
        raise ValueError(f"its index has {entries} entries; more than {MAX_ENTRIES} are not read")


def _boxes_without_pictures(path: Path) -> Iterator[bytes]:
    """The boxes of a file one after the other, except those with the pictures."""
    left = MAX_BYTES
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            size, name = struct.unpack(">I4s", header)
            begin = 8
            if size == 1:
                [size] = struct.unpack(">Q", file.read(8).ljust(8, b"\0"))
                begin = 16
            if name == b"mdat" and size:
                file.seek(max(0, size - begin), 1)
                continue
            if name == b"mdat":  # it extends to the end of the file
                return
            content = file.read(min(max(0, size - begin), left + 1) if size else left + 1)
            left -= len(content) + begin
            if left < 0:
                raise ValueError(f"its index has more than {MAX_BYTES} bytes")
            yield content
