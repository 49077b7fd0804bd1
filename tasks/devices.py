"""Which device of a machine a run works on: one that no other run has."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

from prefect_cvat.auto_annotation.loading import parse_parameters, takes_parameter
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.function_calls import close_function, read_attribute
from prefect_cvat.tasks.limits import device_limit, ensure_limit, is_refused, slots

__all__ = ["device_slot", "loaded_function", "local_devices"]

POLL_SECONDS = 2.0
"""How long to wait before looking for a free device again."""


@contextmanager
def loaded_function(function: CvatFunction) -> Iterator[Any]:
    """Load a function on a device of this machine that no other run has, and close it afterwards.

    Where the function takes a `device` and none was chosen, it gets the first accelerator that is free.
    """
    with ExitStack() as taken:
        device = _wanted(function)
        if device is None and (devices := local_devices()) and takes_parameter(function.function, "device"):
            device = taken.enter_context(device_slot(devices))
        elif device is not None and _is_accelerator(device):
            taken.enter_context(device_slot([device]))
        loaded = function.get_function(device)
        chosen = _device_of(loaded)  # by the function itself, where it cannot be told
        if device is None and chosen is not None and _is_accelerator(chosen):
            taken.enter_context(device_slot([chosen]))
        taken.callback(close_function, loaded)
        yield loaded


@contextmanager
def device_slot(devices: Sequence[str], *, timeout: float | None = None) -> Iterator[str]:
    """Take the slot of one of some devices of this machine, whichever is free first.

    Args:
        devices: Their names, such as `cuda:0` and `cuda:1`.
        timeout: Seconds to wait; None waits for as long as it takes.

    Yields:
        The device.

    Raises:
        TimeoutError: None was free in time.
    """
    for device in devices:
        ensure_limit(device_limit(device), 1)
    deadline = None if timeout is None else time.monotonic() + timeout
    with ExitStack() as slot:
        while (free := _enter_first_free(slot, devices)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"none of the devices {', '.join(devices)} was free in {timeout:.0f} s")
            time.sleep(POLL_SECONDS)
        yield free


def local_devices() -> list[str]:
    """The accelerators of this machine, such as `cuda:0`."""
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*devices, *(["mps"] if torch.backends.mps.is_available() else [])]


def _enter_first_free(slot: ExitStack, devices: Sequence[str]) -> str | None:
    for device in devices:
        try:
            slot.enter_context(slots([device_limit(device)], max_retries=0))
        except ConcurrencySlotAcquisitionError as error:
            if not is_refused(error, 423):
                raise
        else:
            return device
    return None


def _wanted(function: CvatFunction) -> str | None:
    """The device that was chosen, be it among the function's own parameters; None for any."""
    device = function.device or parse_parameters(function.function_parameters).get("device")
    return None if device in (None, "", "auto") else _numbered(str(device))


def _device_of(function: object) -> str | None:
    """The device that a function runs on, such as `cuda:0`; None if it does not say."""
    device = read_attribute(function, "device")
    return None if device is None else _numbered(str(device))


def _numbered(device: str) -> str:
    """A device by the name that its limit has: torch takes `cuda` for `cuda:0`."""
    return "cuda:0" if device == "cuda" else device


def _is_accelerator(device: str) -> bool:
    """Whether a device is one that runs must share: anything but the CPU."""
    return device.partition(":")[0] != "cpu"
