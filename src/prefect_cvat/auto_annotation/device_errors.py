"""Errors of GPUs, told apart by their messages. Torch is not imported: not all functions need it."""

from __future__ import annotations

import sys

__all__ = ["is_device_failure", "is_out_of_memory"]

_OUT_OF_MEMORY = (
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",  # of cuBLAS and cuDNN
    "MPS backend out of memory",
    "Invalid buffer size",  # of MPS
    "DefaultCPUAllocator",
)
"""Errors that have no type of their own."""

_DEVICE_FAILURE = (
    "CUDA error:",
    "HIP error:",
    "CUDA failure",  # of ONNX Runtime
    "STATUS_EXECUTION_FAILED",  # of cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device does not have enough memory. A smaller batch may fit."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in _text(error) for message in _OUT_OF_MEMORY)


def is_device_failure(error: BaseException) -> bool:
    """Whether a GPU has failed. After most of these errors it refuses all calls of the process.

    The error may have been raised from that of the device.
    """
    return any(
        _is_of_device(each) and not is_out_of_memory(each)
        for each in (error, error.__cause__)
        if isinstance(each, Exception)
    )


def _is_of_device(error: Exception) -> bool:
    if type(error).__name__ == "AcceleratorError" and type(error).__module__ == "torch":
        return True
    # not RuntimeError only: ONNX Runtime has exceptions of its own
    return any(message in _text(error) for message in _DEVICE_FAILURE)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # the `__str__` of an error class may fail
        return ""
