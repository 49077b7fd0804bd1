"""Chunks on disk, opened frame by frame: zip files of images (`image_chunk.py`) or videos (`video_chunk.py`).

Images are opened without decoding them: a function that does not read the pixels does not pay for them.
Videos are decoded in another thread, some frames in advance.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from operator import attrgetter
from typing import Protocol, TypeAlias

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.image_chunk import ZipChunk
from prefect_cvat.media.prefetch import prefetch
from prefect_cvat.media.untrusted_images import MIN_BYTES_PER_PIXEL
from prefect_cvat.media.video_chunk import VideoChunk

__all__ = ["ChunkSource", "open_chunk", "open_frames", "open_frames_reversed"]


OpenedFrames = Generator[tuple["Frame", PIL.Image.Image], None, None]

_Part: TypeAlias = tuple[ChunkFile, Sequence[Frame]]
"""A chunk, and frames that it holds."""

FRAMES_AHEAD = 32
"""Maximum number of frames of a video that are decoded in advance."""

BYTES_AHEAD = 48 * 2**20
"""Maximum size of these frames in bytes: six frames of Full HD. One frame may be larger than that."""

REVERSED_BYTES = 96 * 2**20
"""Maximum size in bytes of the decoded frames when a video is read backwards."""


class ChunkSource(Protocol):
    """Opens chunks, which may still be downloading."""

    def wait(self, chunk: ChunkFile) -> None:
        """Wait until a chunk is on disk; called by the user of the frames, before each chunk."""
        ...

    def open(self, chunk: ChunkFile) -> AbstractContextManager[ZipChunk | VideoChunk]:
        """Open a chunk, or return one that is open; called by the thread that reads ahead, if any."""
        ...

    def give_up(self) -> None:
        """Make a waiting `open` fail, because no more frames are used."""
        ...


def open_chunk(chunk: ChunkFile) -> ZipChunk | VideoChunk:
    """Open a chunk.

    Raises:
        MediaError: It is not a chunk of the type and length that the task says.
    """
    return VideoChunk(chunk) if chunk.type == "video" else ZipChunk(chunk)


class ChunksOnDisk:
    """Chunks that are on disk already."""

    def wait(self, chunk: ChunkFile) -> None:
        """Do nothing."""

    def open(self, chunk: ChunkFile) -> ZipChunk | VideoChunk:
        """Open a chunk."""
        return open_chunk(chunk)

    def give_up(self) -> None:
        """Do nothing."""


def open_frames(
    batch: ChunkBatch, frames: Sequence[Frame], *, source: ChunkSource | None = None
) -> OpenedFrames:
    """Open frames of a batch one after the other.

    Images of a zip are decoded when their pixels are first used. Videos are decoded by another thread,
    at most `FRAMES_AHEAD` frames and `BYTES_AHEAD` bytes in advance; the thread ends when the generator is
    closed.

    Args:
        batch: The chunks that hold the frames.
        frames: Frames in ascending order.
        source: Opens the chunks; by default from disk.

    Raises:
        MediaError: A chunk is not of the type and length that the task says, or a frame cannot be opened.
    """
    source = source or ChunksOnDisk()
    parts = _by_chunk(batch.chunks, frames)
    opened = _forwards(parts, source)
    if _has_video(batch):
        opened = prefetch(opened, _bytes_of, max_items=FRAMES_AHEAD, max_bytes=BYTES_AHEAD)
    return _as_they_arrive(opened, parts, source)


def open_frames_reversed(
    batch: ChunkBatch,
    frames: Sequence[Frame],
    *,
    max_bytes: int = REVERSED_BYTES,
    source: ChunkSource | None = None,
) -> OpenedFrames:
    """Open frames of a batch like `open_frames`, but the last one first.

    A video is decoded in blocks of frames, the last block first; each block is decoded from the keyframe
    before it. Half of the bytes are for the block, half for the frames that wait for the caller.

    Args:
        batch: The chunks that hold the frames.
        frames: Frames in ascending order.
        max_bytes: Maximum size in bytes of the decoded frames of a video; two frames are always held.
        source: Opens the chunks; by default from disk.

    Raises:
        MediaError: A chunk is not of the type and length that the task says, or a frame cannot be opened.
    """
    source = source or ChunksOnDisk()
    parts = _by_chunk(batch.chunks, frames)[::-1]
    opened = _backwards(parts, source, max_bytes // 2)
    if _has_video(batch):
        opened = prefetch(opened, _bytes_of, max_items=FRAMES_AHEAD, max_bytes=max_bytes // 2)
    return _as_they_arrive(opened, parts, source)


def _as_they_arrive(opened: OpenedFrames, parts: Sequence[_Part], source: ChunkSource) -> OpenedFrames:
    try:
        for chunk, frames in parts:
            source.wait(chunk)
            yield from islice(opened, len(frames))
        yield from opened  # no frame is left, but the last chunk is still open
    finally:
        source.give_up()
        opened.close()


def _forwards(parts: Sequence[_Part], source: ChunkSource) -> OpenedFrames:
    for chunk, frames in parts:
        with source.open(chunk) as opened:
            yield from opened.images(frames)


def _backwards(parts: Sequence[_Part], source: ChunkSource, max_bytes: int) -> OpenedFrames:
    for chunk, frames in parts:
        largest = max(MIN_BYTES_PER_PIXEL * frame.width * frame.height for frame in frames)
        # opening an image of a zip does not decode it, so blocks would save nothing
        size = max(1, max_bytes // largest) if chunk.type == "video" else 1
        with source.open(chunk) as opened:
            for stop in range(len(frames), 0, -size):
                block = list(opened.images(frames[max(0, stop - size) : stop]))
                while block:
                    yield block.pop()


def _by_chunk(chunks: Sequence[ChunkFile], frames: Sequence[Frame]) -> list[_Part]:
    """The chunks that hold frames, each with its frames."""
    parts: list[_Part] = []
    start = 0
    for chunk in chunks:
        if start < len(frames) and frames[start].number >= chunk.first_frame:
            end = chunk.first_frame + chunk.length
            stop = bisect_left(frames, end, lo=start, key=attrgetter("number"))
            if stop > start:
                parts.append((chunk, frames[start:stop]))
            start = stop
    if start < len(frames):
        raise MediaError(f"{frames[start]} is in none of the chunks that were fetched")
    return parts


def _has_video(batch: ChunkBatch) -> bool:
    return any(chunk.type == "video" for chunk in batch.chunks)


def _bytes_of(opened: tuple[Frame, PIL.Image.Image]) -> int:
    return MIN_BYTES_PER_PIXEL * opened[1].width * opened[1].height
