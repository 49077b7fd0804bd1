"""Chunks that are zip files of images.

What comes from the server is not trusted: the number of images, their bytes and their pixels are held
against limits and against what the task's meta says.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.media.image_decoding import check_memory, decoding_bytes, open_image
from prefect_cvat.messages.plurals import pluralize

if TYPE_CHECKING:
    from prefect_cvat.frames import ChunkFile, Frame

__all__ = ["MAX_ENTRY_BYTES", "MAX_FRAME_BYTES", "ZipChunk", "read_image"]

MAX_FRAME_BYTES = 256 * 2**20
"""The most bytes that one stored image may have."""

MAX_ENTRY_BYTES = 1024
"""Maximum size in bytes of the directory of a zip file for each image. CVAT's names are short."""


class ZipChunk:
    """A zip file of images, opened.

    Raises:
        MediaError: It is not a zip file, or holds more or fewer images than it must.
    """

    def __init__(self, chunk: ChunkFile) -> None:
        self._chunk = chunk
        self._file: _BoundedFile | None = None
        try:
            # the directory becomes objects of ten times its size, so it is bounded before it is read
            self._file = _BoundedFile(chunk.path, 2**17 + MAX_ENTRY_BYTES * chunk.length)
            self._archive = zipfile.ZipFile(self._file)
        except Exception as error:  # zipfile lets out struct.error, UnicodeDecodeError and others
            self._close_file()
            raise MediaError(f"{chunk} is not a readable zip file: {error}") from error
        # CVAT 2.73: members are stored in the order of the frames, under their positions as names
        self._members = [member for member in self._archive.infolist() if not member.is_dir()]
        if len(self._members) != chunk.length:
            self.close()
            held = pluralize(len(self._members), "image")
            raise MediaError(f"{chunk} holds {held} where {chunk.length} were expected")
        self._file.most = MAX_FRAME_BYTES

    def images(self, frames: Sequence[Frame]) -> Iterator[tuple[Frame, PIL.Image.Image]]:
        """Open images, one after the other, without decoding them."""
        for frame in frames:
            yield frame, read_image(self.read(frame), frame)

    def read(self, frame: Frame) -> bytes:
        """Read an image as it is stored."""
        member = self._members[frame.number - self._chunk.first_frame]
        name = f"{frame} in chunk {self._chunk.number}"
        if member.file_size > MAX_FRAME_BYTES:
            raise MediaError(f"{name} has {member.file_size} bytes; more than {MAX_FRAME_BYTES} are not read")
        if member.compress_type != zipfile.ZIP_STORED:
            # some kilobytes can become gigabytes, and images hardly ever become smaller
            raise MediaError(f"{name} is compressed within the zip file; CVAT stores images as they are")
        try:
            return self._archive.read(member)
        except Exception as error:  # as above
            raise MediaError(f"{name} cannot be read: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._archive.close()
        self._close_file()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()


class _BoundedFile(io.FileIO):
    """A file of which no more than so many bytes are read at a time."""

    def __init__(self, path: object, most: int) -> None:
        super().__init__(str(path))
        self.most = most

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self.most + 1 if size is None or size < 0 else size
        if wanted > self.most + 1:
            raise zipfile.BadZipFile(f"a part of it has {wanted} bytes; more than {self.most} are not read")
        data = super().read(wanted) or b""
        if len(data) > self.most:
            raise zipfile.BadZipFile(f"a part of it has more than {self.most} bytes")
        return data


def read_image(data: bytes, frame: Frame) -> PIL.Image.Image:
    """Open an image and hold its size against the task's meta, without decoding it.

    Raises:
        MediaError: It is not an image, is too large, or has another size than the meta says.
    """
    image = open_image(io.BytesIO(data), frame)
    check_memory(len(data) + decoding_bytes(image), image.size, frame)
    width, height = image.size
    if (width, height) != (frame.width, frame.height):
        raise MediaError(
            f"{frame} is {width}x{height} pixels, but the task says {frame.width}x{frame.height}"
        )
    return image
