"""Chunks on disk, opened frame by frame: zip files of images (`zip_chunk.py`) or videos (`video.py`).

Images are opened lazily, so that a function that does not look at the pixels does not pay for decoding
them. Videos cannot be: they are decoded in another thread, ahead of who looks at them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import PIL.Image

from prefect_cvat.ahead import read_ahead
from prefect_cvat.exceptions import MediaError
from prefect_cvat.function_output import FrameDetections
from prefect_cvat.video import VideoChunk
from prefect_cvat.zip_chunk import ZipChunk

__all__ = [
    "Box",
    "ChunkFile",
    "ChunkType",
    "Frame",
    "open_frames",
    "open_frames_reversed",
    "read_stored_images",
]

ChunkType = Literal["imageset", "video"]
"""What a chunk is: a zip file of images, or an mp4. The words are CVAT's."""

OpenedFrames = Generator[tuple["Frame", PIL.Image.Image], None, None]

FRAMES_AHEAD = 32
"""How many frames of a video are decoded ahead at the most."""

BYTES_AHEAD = 48 * 2**20
"""How many bytes they may have: six frames of Full HD. One waits however large it is."""

REVERSED_BYTES = 96 * 2**20
"""How many bytes of frames are held at the most when a video is read backwards."""

BYTES_PER_PIXEL = 4
"""What Pillow keeps of a pixel of RGB."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a task.

    Attributes:
        number: Its relative number, 0..size-1 of the task.
        name: Its file name in the task.
        width: Pixels.
        height: Pixels.
    """

    number: int
    name: str
    width: int
    height: int

    def __str__(self) -> str:
        return f"frame {self.number} ({self.name})"


@dataclass(frozen=True, slots=True)
class ChunkFile:
    """A chunk on disk.

    Attributes:
        number: The chunk's number in the task.
        path: Where its bytes are.
        first_frame: The relative number of its first frame.
        length: How many frames it must hold, deleted ones included.
        type: What it is.
    """

    number: int
    path: Path
    first_frame: int
    length: int
    type: ChunkType = "imageset"

    def __str__(self) -> str:
        return f"chunk {self.number} (frames {self.first_frame}-{self.first_frame + self.length - 1})"


class Box:
    """What was fetched for a batch, until it has been used.

    Prefect keeps parameters and results alive long after their last use. A box is what it keeps; the
    chunks themselves lie on disk, and whoever has made use of them empties the box.

    Attributes:
        chunks: The chunks.
        known: What was found on other frames of the batch in an earlier run; their chunks are not fetched.
    """

    __slots__ = ("chunks", "known")

    def __init__(self, chunks: Sequence[ChunkFile], known: Sequence[FrameDetections] = ()) -> None:
        self.chunks = tuple(chunks)
        self.known = tuple(known)

    def empty(self) -> None:
        """Delete the chunks."""
        for chunk in self.chunks:
            chunk.path.unlink(missing_ok=True)
        self.chunks = ()
        self.known = ()


def open_frames(box: Box, frames: Sequence[Frame]) -> OpenedFrames:
    """Open frames of a box one after the other.

    Images of a zip are decoded when their pixels are first used. Videos are decoded by another thread,
    at most `FRAMES_AHEAD` frames and `BYTES_AHEAD` bytes ahead; it ends when the generator is closed.

    Args:
        box: The chunks that hold the frames.
        frames: Frames in ascending order.

    Raises:
        MediaError: A chunk is not what the server said it is, or a frame cannot be opened.
    """
    opened = _forwards(_by_chunk(box.chunks, frames))
    if not _has_video(box):
        return opened
    return read_ahead(opened, _bytes_of, most_items=FRAMES_AHEAD, most_bytes=BYTES_AHEAD)


def open_frames_reversed(
    box: Box, frames: Sequence[Frame], *, most_bytes: int = REVERSED_BYTES
) -> OpenedFrames:
    """Open frames of a box like `open_frames`, but the last one first.

    A video is decoded in blocks of frames, the last block first; each block is decoded from the keyframe
    before it. Half of the bytes are for the block, half for what waits to be taken.

    Args:
        box: The chunks that hold the frames.
        frames: Frames in ascending order.
        most_bytes: How many bytes of decoded frames of a video may be held, at least two frames.

    Raises:
        MediaError: A chunk is not what the server said it is, or a frame cannot be opened.
    """
    opened = _backwards(_by_chunk(box.chunks, frames), most_bytes // 2)
    if not _has_video(box):
        return opened
    return read_ahead(opened, _bytes_of, most_items=FRAMES_AHEAD, most_bytes=most_bytes // 2)


def read_stored_images(chunk: ChunkFile, frames: Sequence[Frame]) -> Iterator[tuple[Frame, bytes]]:
    """Read images of a zip chunk as they are stored, one after the other: nothing is lost by encoding again.

    Args:
        chunk: A chunk of type `imageset`.
        frames: Frames of this chunk.

    Raises:
        MediaError: The chunk is not what the server said it is, or an image cannot be read.
    """
    with ZipChunk(chunk) as opened:
        for frame in frames:
            yield frame, opened.read(frame)


def _forwards(parts: Sequence[tuple[ChunkFile, Sequence[Frame]]]) -> OpenedFrames:
    for chunk, frames in parts:
        with _open_chunk(chunk) as opened:
            yield from opened.images(frames)


def _backwards(parts: Sequence[tuple[ChunkFile, Sequence[Frame]]], most_bytes: int) -> OpenedFrames:
    for chunk, frames in reversed(parts):
        largest = max(BYTES_PER_PIXEL * frame.width * frame.height for frame in frames)
        # an image of a zip is not decoded by being opened: there is nothing to gain from several
        size = max(1, most_bytes // largest) if chunk.type == "video" else 1
        with _open_chunk(chunk) as opened:
            for stop in range(len(frames), 0, -size):
                block = list(opened.images(frames[max(0, stop - size) : stop]))
                while block:
                    yield block.pop()


def _by_chunk(
    chunks: Sequence[ChunkFile], frames: Sequence[Frame]
) -> list[tuple[ChunkFile, Sequence[Frame]]]:
    """The chunks that hold frames, each with its own."""
    parts: list[tuple[ChunkFile, Sequence[Frame]]] = []
    start = 0
    for chunk in chunks:
        stop = start
        while stop < len(frames) and 0 <= frames[stop].number - chunk.first_frame < chunk.length:
            stop += 1
        if stop > start:
            parts.append((chunk, frames[start:stop]))
        start = stop
    if start < len(frames):
        raise MediaError(f"{frames[start]} is in none of the chunks that were fetched")
    return parts


def _open_chunk(chunk: ChunkFile) -> ZipChunk | VideoChunk:
    return VideoChunk(chunk) if chunk.type == "video" else ZipChunk(chunk)


def _has_video(box: Box) -> bool:
    return any(chunk.type == "video" for chunk in box.chunks)


def _bytes_of(opened: tuple[Frame, PIL.Image.Image]) -> int:
    return BYTES_PER_PIXEL * opened[1].width * opened[1].height
