"""Which device of a machine a run works on: one that no other run has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError

from prefect_cvat.auto_annotation.function_calls import close_function, read_attribute
from prefect_cvat.auto_annotation.loading import parse_parameters, takes_parameter
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.tasks.limits import device_limit, ensure_limit, is_refused, server_slot, slots

__all__ = ["device_slot", "loaded_function", "local_devices"]

POLL_SECONDS = 2.0
"""How long to wait before looking for a free device again."""


@contextmanager
def loaded_function(
    function: CvatFunction, server: str, *, tell: Callable[[str], object] = lambda _: None
) -> Iterator[Any]:
    """Load a function when there are slots for its run, and close it afterwards.

    A run needs a slot of the CVAT server and, on an accelerator, one of the device. The model is loaded
    when both are held, so there are never more models than slots. The device comes first: who waits for one
    must not keep the server from runs on other machines.

    Where the function takes a `device` and none was chosen, it gets the first accelerator that is free.

    Args:
        function: The function.
        server: The CVAT server that the run works on.
        tell: Is told, now and then, what is waited for.
    """
    wanted = _wanted(function)
    takes_device = takes_parameter(function.function, "device")
    if wanted is not None:
        needed = [wanted] if _is_accelerator(wanted) else []
    else:
        needed = local_devices() if takes_device else []
    while True:
        with ExitStack() as taken:
            held = taken.enter_context(device_slot(needed)) if needed else None
            taken.enter_context(server_slot(server, tell=tell))
            told = wanted or (held if takes_device else None)
            loaded = function.get_function(told)
            # where it is not told, the function has chosen one by itself
            chosen = None if told else _device_of(loaded)
            if chosen in (None, held) or not _is_accelerator(chosen) or _take_first_free(taken, [chosen]):
                taken.callback(close_function, loaded)
                yield loaded
                return
            close_function(loaded)
            del loaded  # who waits with a model and the server's slot keeps others out
        needed = [chosen]


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
    deadline = None if timeout is None else time.monotonic() + timeout
    with ExitStack() as slot:
        while (free := _take_first_free(slot, devices)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"none of the devices {', '.join(devices)} was free in {timeout:.0f} s")
            time.sleep(POLL_SECONDS)
        yield free


def local_devices() -> list[str]:
    """The accelerators of this machine, such as `cuda:0`."""
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*devices, *(["mps"] if torch.backends.mps.is_available() else [])]


def _take_first_free(slot: ExitStack, devices: Sequence[str]) -> str | None:
    for device in devices:
        ensure_limit(device_limit(device), 1)
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
    device = function.device or parse_parameters(function.function_parameters or {}).get("device")
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
