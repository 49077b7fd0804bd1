"""Lets Pillow reuse the memory of images that were freed.

By default it returns that memory to the system. Getting new memory, page by page, takes up to a tenth of the
time of decoding a JPEG, and more with many threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import PIL.Image

__all__ = ["reusing_pixel_memory"]

_lock = threading.Lock()
_wanted: list[int] = []
"""The numbers of blocks that are wanted now."""


@contextmanager
def reusing_pixel_memory(max_bytes: int, image_bytes: int) -> Iterator[None]:
    """Let Pillow keep memory of freed images for new ones, in the whole process.

    The memory that is kept is freed at the end.

    Args:
        max_bytes: Maximum size in bytes of the memory that is kept.
        image_bytes: The size in bytes of a decoded image.
    """
    core = PIL.Image.core  # type: ignore[attr-defined]  # its block allocator is documented there
    blocks = max_bytes // max(1, min(image_bytes, core.get_block_size()))
    with _lock:
        _wanted.append(blocks)
        core.set_blocks_max(max(_wanted))
    try:
        yield
    finally:
        with _lock:
            _wanted.remove(blocks)
            core.set_blocks_max(max(_wanted, default=0))
