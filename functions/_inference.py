"""Devices, image tensors and batches for the models of functions."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np
import PIL.Image
import torch
from torch import Tensor

__all__ = ["Batches", "choose_device", "gather", "image_to_tensor", "to_rgb"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def choose_device(device: str = "auto") -> torch.device:
    """Return the device of a name.

    Args:
        device: `auto` (the first CUDA device, or else MPS, or else the CPU), or a device that torch
            knows, such as `cpu`, `cuda`, `cuda:1`, `mps`.

    Raises:
        ValueError: Torch knows no such device, or it is not in this machine.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    available[:0] = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if device == "auto":
        return torch.device(available[0])
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device {device!r} cannot be used here; there are auto, {', '.join(available)}"
        ) from error
    return chosen


def to_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return an image of any mode as RGB.

    Grey images of more than 8 bits are scaled by their greatest value, as CVAT does for the images
    that it shows to annotators. Transparency is dropped.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        greatest = values.max(initial=0.0)
        scaled = values * (255 / greatest) if greatest > 0 else values
        image = PIL.Image.fromarray(scaled.clip(0, 255).astype(np.uint8))
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def image_to_tensor(image: PIL.Image.Image) -> Tensor:
    """Return an image of any mode as a float tensor `[3, H, W]`, RGB, 0 to 1."""
    pixels = torch.from_numpy(np.array(to_rgb(image)))
    return pixels.permute(2, 0, 1).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def gather(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Bring tensors to the CPU in one transfer, as float32."""
    if not tensors:
        return []
    flat = torch.cat([tensor.reshape(-1).to(torch.float32) for tensor in tensors]).cpu()
    ends = accumulate(tensor.numel() for tensor in tensors)
    return [
        flat[end - tensor.numel() : end].view(tensor.shape) for tensor, end in zip(tensors, ends, strict=True)
    ]


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
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    # MPS and the CPU raise no type of their own.
    messages = ("MPS backend out of memory", "Invalid buffer size", "DefaultCPUAllocator")
    return isinstance(error, RuntimeError) and any(message in str(error) for message in messages)


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
