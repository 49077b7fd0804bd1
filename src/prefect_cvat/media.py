"""Chunks on disk, zip files of images or videos, opened frame by frame.

What comes from the server is not trusted: the number of frames, their bytes and their pixels are
held against limits and against what the task's meta says. Images are opened lazily, so that a
function that does not look at the pixels does not pay for decoding them. Videos cannot be: they are
decoded in another thread, ahead of who looks at them.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import PIL.Image

from prefect_cvat.ahead import read_ahead
from prefect_cvat.counted import counted
from prefect_cvat.exceptions import MediaError
from prefect_cvat.function_output import FrameDetections
from prefect_cvat.video import VideoChunk

__all__ = [
    "Box",
    "ChunkFile",
    "ChunkType",
    "Frame",
    "open_frames",
    "open_frames_reversed",
    "read_image",
    "read_stored_images",
]

ChunkType = Literal["imageset", "video"]
"""What a chunk is: a zip file of images, or an mp4. The words are CVAT's."""

OpenedFrames = Generator[tuple["Frame", PIL.Image.Image], None, None]

MAX_FRAME_BYTES = 256 * 2**20
"""The most bytes that one stored image may have."""

MAX_FRAME_PIXELS = 200_000_000
"""The most pixels that one image may have (a 16K frame has 133 million)."""

FRAMES_AHEAD = 32
"""How many frames of a video are decoded ahead at the most."""

BYTES_AHEAD = 128 * 2**20
"""How many bytes they may have: four frames of 4K."""

REVERSED_BYTES = 256 * 2**20
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
    with _ZipChunk(chunk) as opened:
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


def _open_chunk(chunk: ChunkFile) -> _ZipChunk | VideoChunk:
    return VideoChunk(chunk) if chunk.type == "video" else _ZipChunk(chunk)


def _has_video(box: Box) -> bool:
    return any(chunk.type == "video" for chunk in box.chunks)


def _bytes_of(opened: tuple[Frame, PIL.Image.Image]) -> int:
    return BYTES_PER_PIXEL * opened[1].width * opened[1].height


class _ZipChunk:
    """A zip file of images, opened.

    Raises:
        MediaError: It is not a zip file, or holds more or fewer images than it must.
    """

    def __init__(self, chunk: ChunkFile) -> None:
        self._chunk = chunk
        try:
            self._archive = zipfile.ZipFile(chunk.path)
        except (zipfile.BadZipFile, OSError) as error:
            raise MediaError(f"{chunk} is not a readable zip file: {error}") from error
        # CVAT 2.73: members are stored in the order of the frames, under their positions as names
        self._members = [member for member in self._archive.infolist() if not member.is_dir()]
        if len(self._members) != chunk.length:
            self._archive.close()
            held = counted(len(self._members), "image")
            raise MediaError(f"{chunk} holds {held} where {chunk.length} were expected")

    def images(self, frames: Sequence[Frame]) -> Iterator[tuple[Frame, PIL.Image.Image]]:
        """Open images, one after the other, without decoding them."""
        for frame in frames:
            yield frame, read_image(self.read(frame), frame)

    def read(self, frame: Frame) -> bytes:
        """Read an image as it is stored."""
        member = self._members[frame.number - self._chunk.first_frame]
        if member.file_size > MAX_FRAME_BYTES:
            raise MediaError(
                f"{frame} in chunk {self._chunk.number} has {member.file_size} bytes;"
                f" more than {MAX_FRAME_BYTES} are not read"
            )
        try:
            return self._archive.read(member)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise MediaError(f"{frame} in chunk {self._chunk.number} cannot be read: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._archive.close()


def read_image(data: bytes, frame: Frame) -> PIL.Image.Image:
    """Open an image and hold its size against the task's meta, without decoding it.

    Raises:
        MediaError: It is not an image, is too large, or has another size than the meta says.
    """
    try:
        with warnings.catch_warnings():
            # we bound the pixels ourselves, below Pillow's own alarm for our largest frames
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            image = PIL.Image.open(io.BytesIO(data))
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise MediaError(f"{frame} is not an image that can be opened: {error}") from error
    width, height = image.size
    if width * height > MAX_FRAME_PIXELS:
        raise MediaError(f"{frame} has {width}x{height} pixels; more than {MAX_FRAME_PIXELS} are not read")
    if (width, height) != (frame.width, frame.height):
        raise MediaError(
            f"{frame} is {width}x{height} pixels, but the task says {frame.width}x{frame.height}"
        )
    return image


def decode(image: PIL.Image.Image, frame: Frame) -> None:
    """Decode the pixels of an image that was opened lazily.

    Raises:
        MediaError: The image is broken.
    """
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError(f"{frame} is broken: {error}") from error
