"""Chunks that are zip files of images.

What comes from the server is not trusted: the number of images, their bytes and their pixels are held
against limits and against what the task's meta says.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import PIL.Image

from prefect_cvat.counted import counted
from prefect_cvat.exceptions import MediaError

if TYPE_CHECKING:
    from prefect_cvat.media import ChunkFile, Frame

__all__ = ["ZipChunk", "decode", "read_image"]

MAX_FRAME_BYTES = 256 * 2**20
"""The most bytes that one stored image may have."""

MAX_FRAME_PIXELS = 200_000_000
"""The most pixels that one image may have (a 16K frame has 133 million)."""


class ZipChunk:
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
