"""Feeds a function with images: decoded and preprocessed on all cores, ahead of the calls that take them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Self

import PIL.Image

from prefect_cvat.exceptions import PrefectCvatError
from prefect_cvat.frames import Frame
from prefect_cvat.media.pixel_memory import reusing_pixel_memory
from prefect_cvat.media.untrusted_images import (
    MIN_BYTES_PER_PIXEL,
    decode_pixels,
    decoding_bytes,
    usable_cores,
)

__all__ = ["FedImage", "FedImages", "ImageFeed", "OpenedImages", "Preprocess", "max_fed_bytes"]

MIN_FED_BYTES = 64 * 2**20
"""Memory for the images of a call on up to four cores: 16 megapixels."""

FED_BYTES_PER_CORE = 16 * 2**20
"""The same on more cores, for each."""

CALLS_AHEAD = 2
"""For how many calls images are prepared in advance.
With one, cores wait while the last of its images is decoded."""

Preprocess = Callable[[Frame, PIL.Image.Image], Any]
"""Makes of the image of a frame what a function takes in its place."""

OpenedImages = Iterable[tuple[Frame, PIL.Image.Image]]
"""Frames with their images, opened but not decoded; a generator is closed after use."""


def max_fed_bytes() -> int:
    """Maximum size in bytes of the images of a call."""
    return max(MIN_FED_BYTES, FED_BYTES_PER_CORE * usable_cores())


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
    """Decodes and preprocesses images for `CALLS_AHEAD` calls in advance, in the order of the frames.

    A function may do without the pixels. Unless it preprocesses, images are therefore decoded in advance
    only after it has read those of an image. Frames of a video are decoded already.

    Not for several threads at a time: all `FedImages` of a feed share its bounds.

    Args:
        preprocess: Preprocesses an image for the function; called from several threads at a time. None if
            the function takes images.

    Attributes:
        max_bytes: Maximum size in bytes of the images that are prepared in advance for a call.
        reads_pixels: Whether the function reads pixels, so that images are prepared in advance; None as long
            as that is not known.
        waiting: The number of images prepared in advance.
        waiting_bytes: Their size.
    """

    def __init__(self, preprocess: Preprocess | None = None) -> None:
        self._preprocess = preprocess
        self._input_bytes_per_pixel = 12.0  # three floats, until an input is seen
        self.max_bytes = max_fed_bytes()
        self.reads_pixels: bool | None = True if preprocess is not None else None
        self.waiting = 0
        self.waiting_bytes = 0

    def has_room(self, needed: int, images_per_call: int) -> bool:
        """Whether an image of so many bytes may be prepared in advance; the first always may."""
        max_images = CALLS_AHEAD * max(images_per_call, usable_cores())
        max_bytes = CALLS_AHEAD * self.max_bytes
        return not self.waiting or (self.waiting < max_images and self.waiting_bytes + needed <= max_bytes)

    def bytes_of(self, image: PIL.Image.Image) -> int:
        """Bytes that an image takes, decoded or preprocessed."""
        decoded = decoding_bytes(image)
        if self._preprocess is None:
            return decoded
        return max(decoded, int(self._input_bytes_per_pixel * image.width * image.height))

    def prepare(self, frame: Frame, image: PIL.Image.Image) -> FedImage:
        """Decode and preprocess an image; an error is in the result."""
        try:
            decode_pixels(image, frame)
            if self._preprocess is None:
                return FedImage(frame, image, image)
            made = self._preprocess(frame, image)
            if isinstance(size := getattr(made, "nbytes", None), int):  # an array or a tensor
                self._input_bytes_per_pixel = size / (image.width * image.height)
            return FedImage(frame, None, made)
        except PrefectCvatError as error:
            return FedImage(frame, None, error=error)


class FedImages:
    """The images of some frames, decoded and preprocessed in advance; an iterator.

    The images that follow, such as those of the next batch, are prepared while the function works on the
    last of these. Used by one thread at a time.

    Args:
        feed: The feed.
        opened: The frames with their images.
        images_per_call: Returns the number of images that a call takes; it may change.
        is_available: Whether the image at an index of `opened`, or its end, can be had without waiting.

    Attributes:
        following: Returns the images that follow; None as long as they cannot be opened.
    """

    def __init__(
        self,
        feed: ImageFeed,
        opened: OpenedImages,
        images_per_call: Callable[[], int],
        is_available: Callable[[int], bool] = lambda _: True,
    ) -> None:
        self._feed = feed
        self._opened = iter(opened)
        self._opened_count = 0
        self._images_per_call = images_per_call
        self._is_available = is_available
        self.following: Callable[[], FedImages | None] = lambda: None
        self._next: tuple[Frame, PIL.Image.Image] | None = None
        self._is_exhausted = False
        self._is_large = False  # the last image that was taken
        self._error: BaseException | None = None
        self._lazy: PIL.Image.Image | None = None  # the last image, given to the function undecoded
        self._waiting: deque[tuple[int, Future[FedImage]]] = deque()
        self._resources = ExitStack()
        self._pool: ThreadPoolExecutor | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> FedImage:
        """The next image. An error while it was decoded or preprocessed is in it.

        Raises:
            MediaError: The next image cannot be opened.
        """
        self._see_whether_read()
        if not self._waiting:
            if self._next is None and not self._is_exhausted:
                self._open()
            self.prepare()
        if self._waiting:
            return self._take()
        if self._next is None:
            if self._error is not None:
                raise self._error
            raise StopIteration
        (frame, image), self._next = self._next, None
        self._is_large = bool(self._feed.reads_pixels)
        if self._is_large:  # too large to be in memory beside the images of a call
            return self._feed.prepare(frame, image)
        self._lazy = image if getattr(image, "tile", None) else None
        return FedImage(frame, image, image)

    @property
    def are_read(self) -> bool:
        """Whether the function reads the pixels of images, so that they are prepared in advance."""
        return bool(self._feed.reads_pixels)

    @property
    def reading_is_unknown(self) -> bool:
        """Whether the image taken last is not decoded, and the function has not seen another such image."""
        return self._lazy is not None and self._feed.reads_pixels is None

    def prepare_next(self, is_awaited: Callable[[], bool]) -> None:
        """Prepare the next images, and those that follow; to be called while the function works.

        Preparing them while its images are taken would delay the function: all threads take turns.

        Args:
            is_awaited: Whether the function has returned: then only the images of its next call are opened.
        """
        if not self._feed.reads_pixels or self._is_large:  # the file of the next may be large, too
            return
        self.prepare(is_awaited)
        if self._is_exhausted and not is_awaited() and (following := self.following()) is not None:
            following.prepare(is_awaited)

    def prepare(self, is_awaited: Callable[[], bool] = lambda: False) -> None:
        """Let other threads decode and preprocess images, as many as are available within the bounds."""
        feed = self._feed
        if not feed.reads_pixels:
            return
        while not self._is_exhausted:
            if is_awaited() and len(self._waiting) >= self._images_per_call():
                return
            if self._next is None:
                if not self._is_available(self._opened_count):
                    return
                self._open()
                continue
            needed = feed.bytes_of(self._next[1])
            if needed > feed.max_bytes or not feed.has_room(needed, self._images_per_call()):
                return
            self._submit(needed)

    def close(self) -> None:
        """Close the images, and end the threads that prepare them."""
        for size, future in self._waiting:
            future.cancel()
            self._count(-1, -size)
        self._waiting.clear()
        self._next = None
        self._see_whether_read()
        self._resources.close()
        if isinstance(self._opened, Generator):
            self._opened.close()

    def _see_whether_read(self) -> None:
        if self._lazy is not None:
            # Pillow empties `tile` when it decodes
            self._feed.reads_pixels = not getattr(self._lazy, "tile", None)
            self._lazy = None

    def _open(self) -> None:
        self._opened_count += 1
        try:
            self._next = next(self._opened, None)
        except BaseException as error:  # raised once the images before it were taken
            self._error = error
        self._is_exhausted = self._next is None

    def _submit(self, needed: int) -> None:
        assert self._next is not None
        (frame, image), self._next = self._next, None
        if self._pool is None:
            decoded = MIN_BYTES_PER_PIXEL * image.width * image.height
            self._resources.enter_context(reusing_pixel_memory(CALLS_AHEAD * self._feed.max_bytes, decoded))
            self._pool = self._resources.enter_context(
                ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
            )
        prepared = self._pool.submit(copy_context().run, self._feed.prepare, frame, image)
        self._waiting.append((needed, prepared))
        self._count(1, needed)

    def _take(self) -> FedImage:
        self._is_large = False
        size, prepared = self._waiting.popleft()
        self._count(-1, -size)
        return prepared.result()

    def _count(self, images: int, size: int) -> None:
        self._feed.waiting += images
        self._feed.waiting_bytes += size
