"""Writes the images of a dataset from chunks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from prefect_cvat.export.frame_file_names import FileNames
from prefect_cvat.frames import ChunkBatch, ChunkFile, Frame
from prefect_cvat.media.frame_reader import open_frames
from prefect_cvat.media.image_chunk import ZipChunk, check_size
from prefect_cvat.media.untrusted_images import open_image

__all__ = ["ImageFolder"]

JPEG_QUALITY = 95
"""The JPEG quality of video frames, on Pillow's scale (0 to 95)."""


class ImageFolder:
    """A folder of images. May be used from several threads.

    Args:
        folder: The folder; it is created.
        names: The file names of the images.
    """

    def __init__(self, folder: Path, names: FileNames) -> None:
        self._folder = folder
        self._names = names
        self._lock = threading.Lock()
        folder.mkdir()

    def save(self, chunk: ChunkFile, frames: Sequence[Frame]) -> None:
        """Write images of a chunk: unchanged from a zip, as JPEG from a video.

        Args:
            chunk: The chunk.
            frames: The frames of this chunk to write.

        Raises:
            MediaError: An image cannot be read, or does not have the size that the task says.
            OSError: An image cannot be written.
        """
        with self._lock:
            self._save(chunk, frames)

    def _save(self, chunk: ChunkFile, frames: Sequence[Frame]) -> None:
        if chunk.type == "video":
            with closing(open_frames(ChunkBatch([chunk]), frames)) as opened:
                for frame, image in opened:
                    image.save(self._path(frame), format="JPEG", quality=JPEG_QUALITY)
            return
        copied = self._folder / "being-copied"  # an image gets its name once its format is known
        with ZipChunk(chunk) as opened:
            for frame in frames:
                with copied.open("wb") as file:
                    opened.copy(frame, file)
                with open_image(copied, frame, to_decode=False) as image:
                    check_size(image, frame)
                    self._names.fit_to(frame, image.format)
                copied.replace(self._path(frame))

    def remove(self, frame: Frame) -> None:
        """Remove the image of a frame, if it exists."""
        (self._folder / self._names.image(frame)).unlink(missing_ok=True)

    def _path(self, frame: Frame) -> Path:
        path = self._folder / self._names.image(frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
