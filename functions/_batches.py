"""Batches that fit into memory and are fast. Torch is not imported: not all functions need it."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from prefect_cvat.auto_annotation.device_errors import is_out_of_memory
from prefect_cvat.auto_annotation.functions._batch_size_search import BatchSizeSearch

__all__ = ["Batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches:
    """Works through items in batches that fit into the memory of the device.

    When a batch does not fit, it is halved, and later batches stay that small.

    Args:
        size: The greatest number of items in a batch. None finds the fastest, see `BatchSizeSearch`.
        clock: Returns the time in seconds.

    Raises:
        ValueError: `size` is less than 1.
    """

    def __init__(self, size: int | None, clock: Callable[[], float] = time.perf_counter) -> None:
        if size is not None and size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {size}")
        self._search = BatchSizeSearch() if size is None else None
        self._size = size or 1
        self._clock = clock

    @property
    def size(self) -> int:
        """The greatest number of items in the next batch."""
        return self._size if self._search is None else self._search.size

    def map(self, step: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result]:
        """Return the results of `step`, one for each item, in order.

        Raises:
            torch.OutOfMemoryError: Not even one item fits.
        """
        results: list[Result] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.size]
            started = self._clock()
            outcome = _attempt(step, batch)
            if outcome is None:
                # Here, and not where it was caught: while an error is being handled, it keeps alive
                # the tensors of the attempt that failed.
                _free_memory()
                self._shrink(len(batch))
            else:
                if self._search is not None:
                    self._search.learn(len(batch), self._clock() - started)
                results.extend(outcome)
        return results

    def _shrink(self, too_many: int) -> None:
        if self._search is None:
            self._size = too_many // 2
        else:
            self._search.out_of_memory(too_many)


def _attempt(
    step: Callable[[Sequence[Item]], Sequence[Result]], batch: Sequence[Item]
) -> Sequence[Result] | None:
    """Return what `step` makes of a batch; None if the batch is too large and can be divided."""
    try:
        return step(batch)
    except (RuntimeError, MemoryError) as error:
        if len(batch) > 1 and is_out_of_memory(error):
            return None
        raise


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
