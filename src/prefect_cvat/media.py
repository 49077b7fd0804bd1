"""Chunks of image tasks: zip files on disk, opened frame by frame.

What comes from the server is not trusted: the number of members, their bytes and their pixels are
held against limits and against what the task's meta says. Images are opened lazily, so that a
function that does not look at the pixels does not pay for decoding them.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.function_output import FrameDetections

__all__ = ["Box", "ChunkFile", "Frame", "open_frames", "read_image"]

MAX_FRAME_BYTES = 256 * 2**20
"""The most bytes that one stored image may have."""

MAX_FRAME_PIXELS = 200_000_000
"""The most pixels that one image may have (a 16K frame has 133 million)."""


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
    """

    number: int
    path: Path
    first_frame: int
    length: int


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


def open_frames(box: Box, frames: Sequence[Frame]) -> Iterator[tuple[Frame, PIL.Image.Image]]:
    """Open frames of a box one after the other; their pixels are decoded when they are first used.

    Args:
        box: The chunks that hold the frames.
        frames: Frames in ascending order.

    Raises:
        MediaError: A chunk is not what the server said it is, or an image cannot be opened.
    """
    chunks = iter(box.chunks)
    chunk: ChunkFile | None = None
    archive: zipfile.ZipFile | None = None
    members: list[zipfile.ZipInfo] = []
    try:
        for frame in frames:
            while chunk is None or frame.number >= chunk.first_frame + chunk.length:
                chunk = next(chunks, None)
                if chunk is None:
                    raise MediaError(f"{frame} is in none of the chunks that were fetched")
                if archive is not None:
                    archive.close()
                archive, members = _open_archive(chunk)
            assert archive is not None
            yield frame, read_image(_read_member(archive, members, chunk, frame), frame)
    finally:
        if archive is not None:
            archive.close()


def _open_archive(chunk: ChunkFile) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    where = f"chunk {chunk.number} (frames {chunk.first_frame}-{chunk.first_frame + chunk.length - 1})"
    try:
        archive = zipfile.ZipFile(chunk.path)
    except (zipfile.BadZipFile, OSError) as error:
        raise MediaError(f"{where} is not a readable zip file: {error}") from error
    # CVAT 2.73: members are stored in the order of the frames, under their positions as names
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) != chunk.length:
        archive.close()
        raise MediaError(f"{where} holds {len(members)} images where {chunk.length} were expected")
    return archive, members


def _read_member(
    archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo], chunk: ChunkFile, frame: Frame
) -> bytes:
    member = members[frame.number - chunk.first_frame]
    if member.file_size > MAX_FRAME_BYTES:
        raise MediaError(
            f"{frame} in chunk {chunk.number} has {member.file_size} bytes;"
            f" more than {MAX_FRAME_BYTES} are not read"
        )
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise MediaError(f"{frame} in chunk {chunk.number} cannot be read: {error}") from error


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
