"""Devices and tensors for the models of functions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from prefect_cvat.auto_annotation.functions._sixteen_bit_to_rgb import to_rgb

__all__ = ["choose_device", "gather", "image_to_bytes", "image_to_tensor", "memory_format"]


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


def memory_format(device: torch.device) -> torch.memory_format:
    """The layout in which convolutions are fastest: on CUDA the channels of a pixel side by side."""
    return torch.channels_last if device.type == "cuda" else torch.preserve_format


def image_to_bytes(image: PIL.Image.Image) -> Tensor:
    """Return an image of any mode as a tensor `[3, H, W]` of bytes, RGB, 0 to 255."""
    return torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1).contiguous()


def image_to_tensor(image: PIL.Image.Image) -> Tensor:
    """Return an image of any mode as a float tensor `[3, H, W]`, RGB, 0 to 1."""
    return image_to_bytes(image).float().div_(255)


def gather(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Bring tensors to the CPU in one transfer, as float32."""
    if not tensors:
        return []
    flat = torch.cat([tensor.reshape(-1).to(torch.float32) for tensor in tensors]).cpu()
    ends = accumulate(tensor.numel() for tensor in tensors)
    return [
        flat[end - tensor.numel() : end].view(tensor.shape) for tensor, end in zip(tensors, ends, strict=True)
    ]
