"""Loads a function on a device of this machine that no other run uses: one run at a time on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from prefect_cvat.auto_annotation.function_calls import close_function, read_attribute
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.functions_in_parameters import functions_named_in, runs_others
from prefect_cvat.auto_annotation.loading import parse_parameters, takes_parameter
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.tasks.prefect_limits import FIRST_POLL_SECONDS, device_limit, server_slot, try_slots

__all__ = ["chosen_device", "device_slot", "loaded_function", "local_devices"]

POLL_SECONDS = 2.0
"""How often, at the longest, a waiting run checks whether a device is free."""


@contextmanager
def loaded_function(
    function: CvatFunction, server: str, *, warn: Callable[[str], object] = lambda _: None
) -> Iterator[Any]:
    """Wait for a slot of a device and one of the CVAT server, load a function, and close it afterwards.

    The model is loaded once both slots are taken, so there are never more models than slots. A function on
    the CPU needs no slot of a device. The device is waited for first: a run that waits for a GPU must not
    occupy a slot of the server, which runs on other machines could use.

    A function that takes a `device`, and for which none was chosen, gets the first accelerator that is free.
    So does one that is made for a task, as one that runs another on tiles.

    Args:
        function: The function.
        server: The URL of the CVAT server.
        warn: Called with a message about once a minute while the run waits.
    """
    wanted = chosen_device(function)
    takes_device = takes_parameter(function.function, "device")
    if wanted is not None:
        needed = [wanted] if _is_accelerator(wanted) else []
    else:
        needed = local_devices() if takes_device else []
    while True:
        with ExitStack() as taken:
            held = taken.enter_context(device_slot(needed)) if needed else None
            taken.enter_context(server_slot(server, warn=warn))
            device = wanted or (held if takes_device else None)
            loaded = function.get_function(device)
            own_choice = [] if device else _accelerators_of(loaded)
            if own_choice and held not in own_choice:
                held = _take_first_free(taken, own_choice)
            if held or not own_choice:
                if own_choice and isinstance(loaded, FunctionForTask):
                    loaded = loaded.changed(device=held)
                taken.callback(close_function, loaded)
                yield loaded
                return
            # another run uses that device: wait for it without a model in memory or a slot of the server
            close_function(loaded)
            del loaded
        needed = own_choice


@contextmanager
def device_slot(devices: Sequence[str], *, timeout: float | None = None) -> Iterator[str]:
    """Wait until one of some devices of this machine is free, and take its slot.

    Args:
        devices: The names of the devices, such as `cuda:0` and `cuda:1`.
        timeout: Seconds to wait; None waits without limit.

    Yields:
        The name of the device.

    Raises:
        TimeoutError: No device was free in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with ExitStack() as slot:
        delay = FIRST_POLL_SECONDS
        while (free := _take_first_free(slot, devices)) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"none of the devices {', '.join(devices)} was free in {timeout:.0f} s")
            time.sleep(min(delay, POLL_SECONDS))
            delay *= 2
        yield free


def local_devices() -> list[str]:
    """The names of the accelerators of this machine, such as `cuda:0`; none where torch is not installed."""
    try:
        import torch
    except ImportError:
        return []
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*devices, *(["mps"] if torch.backends.mps.is_available() else [])]


def chosen_device(function: CvatFunction) -> str | None:
    """The device that the user has chosen, as `device` or as a parameter of the function; None for any.

    It is the CPU too where the CPU was chosen for each function of an ensemble.
    """
    parameters = parse_parameters(function.function_parameters or {})
    device = function.device or parameters.get("device")
    if device not in (None, "", "auto"):
        return _numbered(str(device))
    takes_device = takes_parameter(function.function, "device")
    return "cpu" if takes_device and _are_members_on_cpu(parameters) else None


def _take_first_free(slot: ExitStack, devices: Sequence[str]) -> str | None:
    return next((device for device in devices if try_slots(slot, {device_limit(device): 1})), None)


def _are_members_on_cpu(parameters: Mapping[str, object]) -> bool:
    """Whether functions have `NAME.device=cpu`, and no other one named here takes a device."""
    of_members = {
        name.removesuffix(".device"): value for name, value in parameters.items() if name.endswith(".device")
    }
    others = {name: value for name, value in parameters.items() if name.partition(".")[0] not in of_members}
    return (
        bool(of_members)
        and all(isinstance(value, str) and not _is_accelerator(value) for value in of_members.values())
        and not any(
            takes_parameter(each, "device") or runs_others(each) for each in functions_named_in(others)
        )
    )


def _accelerators_of(function: object) -> list[str]:
    """The accelerators of which a function uses one that was given no device and may choose it by itself.

    A function that is made for a task has its model later: on the device that it was given, or any.
    """
    device = read_attribute(function, "device")
    if isinstance(function, FunctionForTask) and device in (None, "", "auto"):
        return local_devices()
    return [] if device is None or not _is_accelerator(_numbered(str(device))) else [_numbered(str(device))]


def _numbered(device: str) -> str:
    """The name of a device with its number: `cuda` is `cuda:0`, as in torch."""
    return "cuda:0" if device == "cuda" else device


def _is_accelerator(device: str) -> bool:
    """Whether one run at a time may use a device: true of all but the CPU."""
    return device.partition(":")[0] != "cpu"
