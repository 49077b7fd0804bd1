"""Makes the images of a page as small as the page has room for."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import PIL.Image

from prefect_cvat.frames import Frame
from prefect_cvat.media.untrusted_images import decode_pixels, usable_cores
from prefect_cvat.rendering.frame_svg import shrunk
from prefect_cvat.rendering.review_page.content import PageImage
from prefect_cvat.rendering.review_page.image_folder import MAX_EMBEDDED, ImageFolder

__all__ = ["PageImages"]

MAX_BYTES = 14_200_000
"""The bytes of all images in a page. In base64 these are 19 MB."""

MAX_SIZE = 1920
"""Maximum number of pixels of the longer side of an image."""

MAX_THUMBNAIL_SIZE = 480
"""Maximum number of pixels of the longer side of a thumbnail."""

PROBE_SIZE = 640
"""Pixels of the longer side of the image whose bytes tell how large the image may be."""

QUALITY = 78
LOWER_QUALITIES = 60, 40, 20
"""The quality of the JPEGs, and what is tried where one has too many bytes."""

MARGIN = 0.92
"""The part of its bytes that an image is made for: the size of a JPEG is not exactly known before."""


class PageImages:
    """Makes the images of the frames of a page.

    Images of original size are in memory only while they are made smaller, one for each processor.

    Args:
        count: The number of frames of the page.
        page: The file of the page, if it may have a folder beside it; None keeps everything in the page.

    Raises:
        StorageError: What is in the folder is not of an earlier page.
    """

    def __init__(self, count: int, page: Path | None = None) -> None:
        self._folder = None if page is None or count <= MAX_EMBEDDED else ImageFolder(page)
        self._max_bytes = int(MARGIN * MAX_BYTES / max(count, 1))
        self._bytes_per_pixel: float | None = None  # of the last image, whichever thread has made it
        self._max_size = MAX_SIZE if self._folder is None else MAX_THUMBNAIL_SIZE
        self._is_prepared = False
        self._preparing = Lock()
        if self._folder is not None:
            self._folder.check()

    def make(self, frames: Iterable[tuple[Frame, PIL.Image.Image]]) -> Iterator[tuple[Frame, PageImage]]:
        """Make the images of frames.

        Args:
            frames: The frames with their images.

        Raises:
            MediaError: An image is broken.
            StorageError: The folder cannot be written.
        """
        cores = usable_cores()
        waiting: list[tuple[Frame, Future[PageImage]]] = []
        with ThreadPoolExecutor(cores, thread_name_prefix="page") as threads:
            for frame, image in frames:
                decode_pixels(image, frame)
                waiting.append((frame, threads.submit(self.make_one, frame, image)))
                del image  # only the thread needs it
                if len(waiting) > cores:
                    done, made = waiting.pop(0)
                    yield done, made.result()
            for done, made in waiting:
                yield done, made.result()

    def make_one(self, frame: Frame, image: PIL.Image.Image) -> PageImage:
        """Make the image of a frame, which is decoded.

        Raises:
            StorageError: The folder cannot be written.
        """
        if self._folder is None:
            return PageImage(self._fitting(image))
        self._prepare_folder(self._folder)
        large = shrunk(image, MAX_SIZE)
        address = self._folder.write(frame.number, _jpeg(large, QUALITY))
        return PageImage(self._fitting(large), address)

    def _prepare_folder(self, folder: ImageFolder) -> None:
        """Make the folder, once there is an image."""
        with self._preparing:
            if not self._is_prepared:
                folder.prepare()
                self._is_prepared = True

    def _fitting(self, image: PIL.Image.Image) -> bytes:
        """The largest JPEG of an image that has no more than the bytes of its share.

        Images of a task are alike: how many bytes a pixel takes is taken from those before.
        """
        size = min(max(image.size), self._max_size)
        made, jpeg = self._encode(image, min(size, self._fitting_size(image)))
        if len(jpeg) > self._max_bytes / MARGIN:
            smaller = max(made.size) * math.sqrt(self._max_bytes / len(jpeg))
            made, jpeg = self._encode(image, max(1, int(smaller)))
        for quality in LOWER_QUALITIES:
            if len(jpeg) <= self._max_bytes / MARGIN:
                break
            jpeg = _jpeg(made, quality)
        return jpeg

    def _fitting_size(self, image: PIL.Image.Image) -> int:
        """The pixels of the longer side with which an image is expected to have the bytes of its share."""
        if self._bytes_per_pixel is None:
            self._encode(image, min(PROBE_SIZE, max(image.size)))
        assert self._bytes_per_pixel is not None
        scale = math.sqrt(self._max_bytes / (self._bytes_per_pixel * image.width * image.height))
        return max(1, int(max(image.size) * scale))

    def _encode(self, image: PIL.Image.Image, size: int) -> tuple[PIL.Image.Image, bytes]:
        made = shrunk(image, size)
        jpeg = _jpeg(made, QUALITY)
        self._bytes_per_pixel = len(jpeg) / (made.width * made.height)
        return made, jpeg


def _jpeg(image: PIL.Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
