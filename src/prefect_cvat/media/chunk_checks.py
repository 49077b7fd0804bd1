"""Checks that a downloaded file is a complete chunk, by its structure alone, without decompressing it."""

from __future__ import annotations

import os
import struct
from typing import IO, TYPE_CHECKING

from prefect_cvat.media.image_chunk import MAX_ENTRY_BYTES

if TYPE_CHECKING:
    from prefect_cvat.frames import ChunkType

__all__ = ["problem_of_chunk"]

_MAX_DIRECTORY_BYTES = 2**16
"""Maximum size in bytes of the directory of a zip file, besides those for each image."""

_MAX_BOXES = 10_000


def problem_of_chunk(file: IO[bytes], kind: ChunkType, length: int) -> str | None:
    """Describe why a file is not a complete chunk; None if it may be one.

    Args:
        file: The file.
        kind: The expected type: a zip file of images, or an mp4.
        length: The expected number of frames.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    begin = file.read(8)
    if not begin:
        return "it is empty"
    if kind == "video":
        return _problem_of_mp4(file, begin, size)
    return _problem_of_zip(file, begin, size, length)


def _problem_of_zip(file: IO[bytes], begin: bytes, size: int, length: int) -> str | None:
    if not begin.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return f"it is not a zip file: it begins with {begin!r}"
    file.seek(max(0, size - 22 - 2**16))  # a comment of up to 64 KiB may follow
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        return f"it is a zip file that ends, after {size} bytes, before its directory"
    directory_size, directory_start = struct.unpack_from("<LL", tail, at + 12)
    if directory_start + directory_size > size - len(tail) + at:
        return f"it is a zip file of {size} bytes whose directory lies elsewhere"
    if directory_size > _MAX_DIRECTORY_BYTES + MAX_ENTRY_BYTES * length:
        return f"it is a zip file whose directory has {directory_size} bytes, for {length} images"
    return None


def _problem_of_mp4(file: IO[bytes], begin: bytes, size: int) -> str | None:
    if begin[4:8] != b"ftyp":
        return f"it is not an mp4: it begins with {begin!r}"
    start, has_index, boxes = 0, False, 0
    while start < size:
        boxes += 1
        if boxes > _MAX_BOXES:
            return f"it is an mp4 of more than {_MAX_BOXES} boxes"
        file.seek(start)
        header = file.read(16)
        if len(header) < 8:
            return f"it is an mp4 that was cut short after {size} bytes"
        box_size, kind = struct.unpack_from(">L4s", header)
        if box_size == 1 and len(header) == 16:  # the size is too large for its field, and follows
            (box_size,) = struct.unpack_from(">Q", header, 8)
        elif box_size == 0:
            box_size = size - start
        if box_size < 8:
            return f"it is an mp4 with a box of {box_size} bytes"
        has_index = has_index or kind == b"moov"
        start += box_size
    if start > size:
        return f"it is an mp4 that was cut short: it has {size} of {start} bytes"
    return None if has_index else "it is an mp4 without an index"
