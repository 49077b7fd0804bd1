"""Reading ahead in another thread, within a number of items and of bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

__all__ = ["read_ahead"]

Item = TypeVar("Item")


def read_ahead(
    items: Generator[Item, None, None],
    bytes_of: Callable[[Item], int],
    *,
    most_items: int,
    most_bytes: int,
) -> Generator[Item, None, None]:
    """Run a generator in a thread of its own, ahead of whoever takes what it yields.

    At most so many items, of so many bytes in all, are waiting to be taken (but always one, however
    large), and one more that has no room yet. Closing the result ends the thread and closes the generator
    in it; that waits for the item that is being made.

    Args:
        items: What to run; it is only used in the thread.
        bytes_of: The size of an item.
        most_items: How many may wait.
        most_bytes: How many bytes they may have.

    Raises:
        Exception: What the generator raises, when all that it yielded before has been taken.
    """
    reader = _Reader(items, bytes_of, most_items, most_bytes)
    reader.start()
    try:
        while reader.has_more():
            yield reader.take()  # not kept in a variable: it would live until the next one is there
    finally:
        reader.stop()


class _Reader(threading.Thread, Generic[Item]):
    def __init__(
        self,
        items: Generator[Item, None, None],
        bytes_of: Callable[[Item], int],
        most_items: int,
        most_bytes: int,
    ) -> None:
        super().__init__(name="read-ahead", daemon=True)
        self._items = items
        self._bytes_of = bytes_of
        self._most_items = most_items
        self._most_bytes = most_bytes
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
        """Add an item when there is room; False when no more are wanted."""
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
        return len(self._waiting) < self._most_items and self._bytes + size <= self._most_bytes

    def has_more(self) -> bool:
        """Wait for an item; False when there are no more.

        Raises:
            Exception: What ended the generator.
        """
        with self._changed:
            while not self._waiting and not self._is_done:
                self._changed.wait()
            if not self._waiting and self._error is not None:
                raise self._error
            return bool(self._waiting)

    def take(self) -> Item:
        """The first of the items that are there."""
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
