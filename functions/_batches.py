"""Batches that fit into memory. Torch is not imported: not all functions need it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["Batches"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches:
    """Works through items in batches that fit into the memory of the device.

    When a batch does not fit, it is halved, and later batches stay that small.

    Args:
        size: The greatest number of items in a batch.

    Raises:
        ValueError: `size` is less than 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {size}")
        self.size = size

    def map(self, step: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result]:
        """Return the results of `step`, one for each item, in order.

        Raises:
            torch.OutOfMemoryError: Not even one item fits.
        """
        results: list[Result] = []
        while len(results) < len(items):
            batch = items[len(results) : len(results) + self.size]
            outcome = _attempt(step, batch)
            if outcome is None:
                # Here, and not where it was caught: while an error is being handled, it keeps alive
                # the tensors of the attempt that failed.
                _free_memory()
                self.size = len(batch) // 2
            else:
                results.extend(outcome)
        return results


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


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a device has not enough memory."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    # MPS and the CPU raise no type of their own.
    messages = ("MPS backend out of memory", "Invalid buffer size", "DefaultCPUAllocator")
    return isinstance(error, RuntimeError) and any(message in str(error) for message in messages)


def _free_memory() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
