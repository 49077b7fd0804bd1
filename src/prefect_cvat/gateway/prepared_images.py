"""What functions prepare of images, kept for the images last seen: the second click costs only the prompt."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from prefect_cvat.gateway.memory_size import bytes_of

__all__ = ["PreparedImage", "PreparedImages"]


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image as a function has prepared it, with its width and height in pixels."""

    value: Any
    size: tuple[int, int]


class PreparedImages:
    """A cache of prepared images, of bounded size. What was not used for longest is dropped first.

    Args:
        max_bytes: Maximum size of all together, that on GPUs included. A larger image is not kept.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._images: OrderedDict[Hashable, tuple[PreparedImage, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def total_bytes(self) -> int:
        """The estimated size of what is kept."""
        return self._bytes

    def __contains__(self, key: Hashable) -> bool:
        return key in self._images

    def get(self, key: Hashable, make: Callable[[], PreparedImage]) -> PreparedImage:
        """The prepared image with this key, made if it is not there."""
        with self._lock:
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key][0]
        image = make()
        width, height = image.size
        size = max(bytes_of(image.value), 3 * width * height)  # it may be in memory of an unknown kind
        with self._lock:
            if size <= self._max_bytes and key not in self._images:
                self._images[key] = image, size
                self._bytes += size
                while self._bytes > self._max_bytes:
                    self._bytes -= self._images.popitem(last=False)[1][1]
        return image

    def drop(self, is_dropped: Callable[[Hashable], bool]) -> None:
        """Drop the images whose keys are so."""
        with self._lock:
            for key in [key for key in self._images if is_dropped(key)]:
                self._bytes -= self._images.pop(key)[1]
