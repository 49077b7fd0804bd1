"""Chunks on disk, opened frame by frame: zip files of images (`image_chunk.py`) or videos (`video_chunk.py`).

Images are opened without decoding them: a function that does not read the pixels does not pay for them.
Videos are decoded in another thread, some frames in advance.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from operator import attrgetter

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.image_chunk import ZipChunk
from prefect_cvat.media.image_decoding import MIN_BYTES_PER_PIXEL
from prefect_cvat.media.prefetch import prefetch
from prefect_cvat.media.video_chunk import VideoChunk

__all__ = ["OpenChunk", "open_chunk", "open_frames", "open_frames_reversed"]


OpenedFrames = Generator[tuple["Frame", PIL.Image.Image], None, None]

FRAMES_AHEAD = 32
"""Maximum number of frames of a video that are decoded in advance."""

BYTES_AHEAD = 48 * 2**20
"""Maximum size of these frames in bytes: six frames of Full HD. One frame may be larger than that."""

REVERSED_BYTES = 96 * 2**20
"""Maximum size in bytes of the decoded frames when a video is read backwards."""

OpenChunk = Callable[[ChunkFile], AbstractContextManager[ZipChunk | VideoChunk]]


def open_chunk(chunk: ChunkFile) -> ZipChunk | VideoChunk:
    """Open a chunk.

    Raises:
        MediaError: It is not a chunk of the type and length that the task says.
    """
    return VideoChunk(chunk) if chunk.type == "video" else ZipChunk(chunk)


def open_frames(
    batch: ChunkBatch, frames: Sequence[Frame], *, open_chunk: OpenChunk = open_chunk
) -> OpenedFrames:
    """Open frames of a batch one after the other.

    Images of a zip are decoded when their pixels are first used. Videos are decoded by another thread,
    at most `FRAMES_AHEAD` frames and `BYTES_AHEAD` bytes in advance; the thread ends when the generator is
    closed.

    Args:
        batch: The chunks that hold the frames.
        frames: Frames in ascending order.
        open_chunk: Opens a chunk; it may return one that is open already.

    Raises:
        MediaError: A chunk is not of the type and length that the task says, or a frame cannot be opened.
    """
    opened = _forwards(_by_chunk(batch.chunks, frames), open_chunk)
    if not _has_video(batch):
        return opened
    return prefetch(opened, _bytes_of, max_items=FRAMES_AHEAD, max_bytes=BYTES_AHEAD)


def open_frames_reversed(
    batch: ChunkBatch,
    frames: Sequence[Frame],
    *,
    max_bytes: int = REVERSED_BYTES,
    open_chunk: OpenChunk = open_chunk,
) -> OpenedFrames:
    """Open frames of a batch like `open_frames`, but the last one first.

    A video is decoded in blocks of frames, the last block first; each block is decoded from the keyframe
    before it. Half of the bytes are for the block, half for the frames that wait for the caller.

    Args:
        batch: The chunks that hold the frames.
        frames: Frames in ascending order.
        max_bytes: Maximum size in bytes of the decoded frames of a video; two frames are always held.
        open_chunk: Opens a chunk; it may return one that is open already.

    Raises:
        MediaError: A chunk is not of the type and length that the task says, or a frame cannot be opened.
    """
    opened = _backwards(_by_chunk(batch.chunks, frames), open_chunk, max_bytes // 2)
    if not _has_video(batch):
        return opened
    return prefetch(opened, _bytes_of, max_items=FRAMES_AHEAD, max_bytes=max_bytes // 2)


def _forwards(parts: Sequence[tuple[ChunkFile, Sequence[Frame]]], open_chunk: OpenChunk) -> OpenedFrames:
    for chunk, frames in parts:
        with open_chunk(chunk) as opened:
            yield from opened.images(frames)


def _backwards(
    parts: Sequence[tuple[ChunkFile, Sequence[Frame]]], open_chunk: OpenChunk, max_bytes: int
) -> OpenedFrames:
    for chunk, frames in reversed(parts):
        largest = max(MIN_BYTES_PER_PIXEL * frame.width * frame.height for frame in frames)
        # an image of a zip is not decoded by being opened: there is nothing to gain from several
        size = max(1, max_bytes // largest) if chunk.type == "video" else 1
        with open_chunk(chunk) as opened:
            for stop in range(len(frames), 0, -size):
                block = list(opened.images(frames[max(0, stop - size) : stop]))
                while block:
                    yield block.pop()


def _by_chunk(
    chunks: Sequence[ChunkFile], frames: Sequence[Frame]
) -> list[tuple[ChunkFile, Sequence[Frame]]]:
    """The chunks that hold frames, each with its frames."""
    parts: list[tuple[ChunkFile, Sequence[Frame]]] = []
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
