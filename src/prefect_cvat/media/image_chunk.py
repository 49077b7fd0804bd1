"""Chunks that are zip files of images.

The server is not trusted: the number of images, their sizes in bytes and in pixels are checked against limits
and against the task's meta.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

import PIL.Image

from prefect_cvat.exceptions import MediaError
from prefect_cvat.media.untrusted_images import (
    MIN_BYTES_PER_PIXEL,
    check_memory,
    decoding_bytes,
    fits_in_memory,
    max_opening_bytes,
    open_image,
    opening_bytes,
)
from prefect_cvat.messages.plurals import pluralize

if TYPE_CHECKING:
    from prefect_cvat.frames import ChunkFile, Frame

__all__ = ["MAX_ENTRY_BYTES", "MAX_FRAME_BYTES", "ZipChunk", "check_size", "read_image"]

MAX_FRAME_BYTES = 256 * 2**20
"""Maximum size in bytes of one stored image."""

_PIECE_BYTES = 2**20
"""Number of bytes that are copied at a time."""

MAX_ENTRY_BYTES = 1024
"""Maximum size in bytes of the directory of a zip file for each image. CVAT's names are short."""


class ZipChunk:
    """A zip file of images, opened.

    Raises:
        MediaError: It is not a zip file, or holds more or fewer images than the chunk has frames.
    """

    def __init__(self, chunk: ChunkFile) -> None:
        self._chunk = chunk
        self._file: _BoundedFile | None = None
        try:
            # the directory becomes objects of ten times its size, so it is bounded before it is read
            self._file = _BoundedFile(chunk.path, 2**17 + MAX_ENTRY_BYTES * chunk.length)
            self._archive = zipfile.ZipFile(self._file)
        except Exception as error:  # zipfile also raises struct.error, UnicodeDecodeError and others
            self._close_file()
            raise MediaError(f"{chunk} is not a readable zip file: {error}") from error
        # CVAT 2.73: members are stored in the order of the frames, under their positions as names
        self._members = [member for member in self._archive.infolist() if not member.is_dir()]
        if len(self._members) != chunk.length:
            self.close()
            held = pluralize(len(self._members), "image")
            raise MediaError(f"{chunk} holds {held} where {chunk.length} were expected")
        self._file.max_bytes = MAX_FRAME_BYTES

    def images(self, frames: Sequence[Frame]) -> Iterator[tuple[Frame, PIL.Image.Image]]:
        """Open images, one after the other, without decoding them."""
        for frame in frames:
            yield frame, read_image(self._read(frame), frame, max_bytes=self._chunk.max_image_bytes)

    def copy(self, frame: Frame, file: IO[bytes]) -> None:
        """Copy a stored image of any size to a file.

        Raises:
            MediaError: It cannot be read.
            OSError: It cannot be written.
        """
        with self._open_member(frame) as stored:
            while True:
                with self._errors_of(frame):
                    piece = stored.read(_PIECE_BYTES)
                if not piece:
                    return
                file.write(piece)

    def _read(self, frame: Frame) -> bytes:
        """Read an image as it is stored, unless that, or decoding it, would take too much memory."""
        member = self._member(frame)
        # the task states the size, and images of another size are refused
        pixel_bytes = MIN_BYTES_PER_PIXEL * frame.width * frame.height
        max_bytes = self._chunk.max_image_bytes
        if not fits_in_memory(pixel_bytes + max_opening_bytes(member.file_size), max_bytes):
            with self._open_member(frame) as stored, self._errors_of(frame):
                opening = opening_bytes(stored.read(12), member.file_size)
            check_memory(
                frame,
                (frame.width, frame.height),
                pixel_bytes,
                max(member.file_size, opening),
                max_bytes=max_bytes,
            )
        with self._open_member(frame) as stored, self._errors_of(frame):
            return stored.read()

    def _member(self, frame: Frame) -> zipfile.ZipInfo:
        return self._members[frame.number - self._chunk.first_frame]

    def _open_member(self, frame: Frame) -> IO[bytes]:
        member = self._member(frame)
        name = f"{frame} in chunk {self._chunk.number}"
        if member.file_size > MAX_FRAME_BYTES:
            raise MediaError(f"{name} has {member.file_size} bytes; more than {MAX_FRAME_BYTES} are not read")
        if member.compress_type != zipfile.ZIP_STORED:
            # a compressed file can expand a thousandfold, and images hardly compress
            raise MediaError(f"{name} is compressed within the zip file; CVAT stores images as they are")
        with self._errors_of(frame):
            return self._archive.open(member)

    @contextmanager
    def _errors_of(self, frame: Frame) -> Iterator[None]:
        """Raise errors of zipfile as `MediaError` with the name of the frame."""
        try:
            yield
        except MediaError:
            raise
        except Exception as error:  # zipfile also raises struct.error, UnicodeDecodeError and others
            raise MediaError(f"{frame} in chunk {self._chunk.number} cannot be read: {error}") from error

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
    """A file that refuses to read more than a number of bytes at a time."""

    def __init__(self, path: object, max_bytes: int) -> None:
        super().__init__(str(path))
        self.max_bytes = max_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self.max_bytes + 1 if size is None or size < 0 else size
        if wanted > self.max_bytes + 1:
            raise zipfile.BadZipFile(
                f"a part of it has {wanted} bytes; more than {self.max_bytes} are not read"
            )
        data = super().read(wanted) or b""
        if len(data) > self.max_bytes:
            raise zipfile.BadZipFile(f"a part of it has more than {self.max_bytes} bytes")
        return data


def read_image(data: bytes, frame: Frame, *, max_bytes: int | None = None) -> PIL.Image.Image:
    """Open an image and compare its size with the one in the task's meta, without decoding it.

    Args:
        data: The file.
        frame: The frame.
        max_bytes: Maximum memory of the file and its decoding in bytes; None takes the setting.

    Raises:
        MediaError: It is not an image, would take too much memory, or has another size than the meta says.
    """
    image = open_image(io.BytesIO(data), frame, max_bytes=max_bytes)
    file_bytes = max(len(data), opening_bytes(data[:12], len(data)))
    check_memory(frame, image.size, decoding_bytes(image), file_bytes, max_bytes=max_bytes)
    check_size(image, frame)
    return image


def check_size(image: PIL.Image.Image, frame: Frame) -> None:
    """Compare the size of an image with the one in the task's meta.

    Raises:
        MediaError: They differ.
    """
    width, height = image.size
    if (width, height) != (frame.width, frame.height):
        raise MediaError(
            f"{frame} is {width}x{height} pixels, but the task says {frame.width}x{frame.height}"
        )
