"""Feeds a function with images: decoded and preprocessed on all cores, ahead of the calls that take them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import PIL.Image

from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.frames import Frame
from prefect_cvat.media.image_decoding import decode_pixels, decoding_bytes, usable_cores

__all__ = ["FED_BYTES", "FedImage", "ImageFeed", "Preprocess"]

FED_BYTES = 64 * 2**20
"""Maximum size in bytes of the images of a call, and of those decoded in advance: 16 megapixels."""

Preprocess = Callable[[Frame, PIL.Image.Image], Any]
"""Makes of the image of a frame what a function takes in its place."""


@dataclass(slots=True)
class FedImage:
    """What a function gets of a frame.

    Attributes:
        frame: The frame.
        image: Its image, unless that was preprocessed; then it is no longer needed.
        input: What the function gets: the image, or what preprocessing has made of it.
        error: Why the image cannot be decoded or preprocessed, if it cannot.
    """

    frame: Frame
    image: PIL.Image.Image | None
    input: Any = None
    error: PrefectCvatError | None = None


class ImageFeed:
    """Decodes and preprocesses images for two calls in advance, in the order of the frames.

    A function may do without the pixels. Unless it preprocesses, images are therefore decoded in advance
    only after it has read those of an image. Frames of a video are decoded already.

    Args:
        preprocess: Preprocesses an image for the function; called from several threads at a time. None if
            the function takes images.
    """

    def __init__(self, preprocess: Preprocess | None = None) -> None:
        self._preprocess = preprocess
        self._reads_pixels = preprocess is not None

    def each(
        self, opened: Iterable[tuple[Frame, PIL.Image.Image]], images_per_call: Callable[[], int]
    ) -> Iterator[FedImage]:
        """Decode and preprocess frames; errors are in what is fed.

        Args:
            opened: The frames with their images.
            images_per_call: Returns the number of images that a call takes; it may change.
        """
        frames = iter(opened)
        while not self._reads_pixels:
            try:
                frame, image = next(frames)
            except StopIteration:
                return
            is_lazy = bool(getattr(image, "tile", None))
            yield FedImage(frame, image, image)
            # Pillow empties `tile` when it decodes
            self._reads_pixels = is_lazy and not getattr(image, "tile", None)
            del frame, image  # free it before the next one is opened
        yield from self._in_advance(frames, images_per_call)

    def _in_advance(
        self, frames: Iterator[tuple[Frame, PIL.Image.Image]], images_per_call: Callable[[], int]
    ) -> Iterator[FedImage]:
        threads = usable_cores()
        waiting: deque[tuple[int, Future[FedImage]]] = deque()
        waiting_bytes = 0
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            for frame, image in frames:
                needed = self._bytes_of(image)
                max_waiting = 2 * max(images_per_call(), threads)
                while waiting and (len(waiting) >= max_waiting or waiting_bytes + needed > FED_BYTES):
                    waiting_bytes -= waiting[0][0]
                    yield waiting.popleft()[1].result()
                if needed > FED_BYTES:  # too large to be in memory beside the images of a call
                    yield self._prepare(frame, image)
                else:
                    waiting.append((needed, pool.submit(copy_context().run, self._prepare, frame, image)))
                    waiting_bytes += needed
                del frame, image
            while waiting:
                yield waiting.popleft()[1].result()

    def _bytes_of(self, image: PIL.Image.Image) -> int:
        """Bytes that an image takes decoded, or preprocessed: three floats a pixel."""
        decoded = decoding_bytes(image)
        return decoded if self._preprocess is None else max(decoded, 12 * image.width * image.height)

    def _prepare(self, frame: Frame, image: PIL.Image.Image) -> FedImage:
        try:
            decode_pixels(image, frame)
            if self._preprocess is None:
                return FedImage(frame, image, image)
            return FedImage(frame, None, self._preprocess(frame, image))
        except PrefectCvatError as error:
            return FedImage(frame, None, error=error)
