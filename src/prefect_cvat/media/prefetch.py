"""Prefetching: a generator runs in another thread, within a number of items and of bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

__all__ = ["prefetch"]

Item = TypeVar("Item")


def prefetch(
    items: Generator[Item, None, None],
    bytes_of: Callable[[Item], int],
    *,
    max_items: int,
    max_bytes: int,
) -> Generator[Item, None, None]:
    """Run a generator in its own thread, in advance of its consumer.

    The queue holds at most `max_items` items of `max_bytes` bytes in all, but always one of any size; the
    generator may have made one more. Closing the result closes the generator and ends the thread, after the
    item that is being made.

    Args:
        items: The generator; it is only used in the thread.
        bytes_of: The size of an item.
        max_items: Maximum number of items in the queue.
        max_bytes: Maximum size in bytes of the items in the queue.

    Raises:
        Exception: An error of the generator, once all items before it were consumed.
    """
    reader = _Reader(items, bytes_of, max_items, max_bytes)
    reader.start()
    try:
        while reader.has_more():
            yield reader.take()  # no variable: it would keep the item in memory until the next one
    finally:
        reader.stop()


class _Reader(threading.Thread, Generic[Item]):
    def __init__(
        self,
        items: Generator[Item, None, None],
        bytes_of: Callable[[Item], int],
        max_items: int,
        max_bytes: int,
    ) -> None:
        super().__init__(name="prefetch", daemon=True)
        self._items = items
        self._bytes_of = bytes_of
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Item, int]] = deque()
        self._bytes = 0
        self._is_stopped = False
        self._is_done = False
        self._error: BaseException | None = None

    def run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item, self._bytes_of(item)):
                    break
                del item
        except BaseException as raised:
            error = raised
        finally:
            self._items.close()
            with self._changed:
                self._error, self._is_done = error, True
                self._changed.notify_all()

    def _put(self, item: Item, size: int) -> bool:
        """Add an item when there is room; False if the consumer has stopped."""
        with self._changed:
            while self._waiting and not self._is_stopped and not self._has_room(size):
                self._changed.wait()
            if self._is_stopped:
                return False
            self._waiting.append((item, size))
            self._bytes += size
            self._changed.notify_all()
            return True

    def _has_room(self, size: int) -> bool:
        return len(self._waiting) < self._max_items and self._bytes + size <= self._max_bytes

    def has_more(self) -> bool:
        """Wait for an item; False when there are no more.

        Raises:
            Exception: The error that ended the generator.
        """
        with self._changed:
            while not self._waiting and not self._is_done:
                self._changed.wait()
            if not self._waiting and self._error is not None:
                raise self._error
            return bool(self._waiting)

    def take(self) -> Item:
        """Remove and return the first item of the queue."""
        with self._changed:
            item, size = self._waiting.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return item

    def stop(self) -> None:
        """End the thread, and wait until it has ended."""
        with self._changed:
            self._is_stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        self.join()
