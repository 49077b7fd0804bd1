"""What to say if not even the smallest piece of work fits into the memory of a device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from prefect_cvat.auto_annotation.device_errors import is_out_of_memory
from prefect_cvat.exceptions import BadFunctionError
from prefect_cvat.messages.argument_names import argument

__all__ = ["suggesting_the_cpu"]


@contextlib.contextmanager
def suggesting_the_cpu(device: torch.device, what: str) -> Iterator[None]:
    """Replace the error of a device without enough memory by one that says what to do.

    Args:
        device: The device; an error of the CPU is not replaced.
        what: What does not fit, such as `the model`.

    Raises:
        BadFunctionError: It does not fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
        raise BadFunctionError(
            f"{what} does not fit into the memory of {device}; use {argument('device', 'cpu')}, a larger"
            " device or a smaller model"
        ) from error
