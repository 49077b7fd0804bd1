"""Loads a function on a device of this machine that no other run uses: one run at a time on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from prefect_cvat.auto_annotation.function_calls import close_function, read_attribute
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.functions_in_parameters import functions_named_in, runs_others
from prefect_cvat.auto_annotation.loading import parse_parameters, takes_parameter
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.tasks.prefect_limits import FIRST_POLL_SECONDS, device_limit, server_slot, try_slots

__all__ = ["device_slot", "loaded_function", "local_devices", "takes_device"]

POLL_SECONDS = 2.0
"""How often, at the longest, a waiting run checks whether a device is free."""

_ANY = (None, "", "auto")
"""The values of `device` that leave the choice to the run."""


@contextmanager
def loaded_function(
    function: CvatFunction, server: str, *, warn: Callable[[str], object] = lambda _: None
) -> Iterator[Any]:
    """Wait for slots of devices and one of the CVAT server, load a function, and close it afterwards.

    The model is loaded once the slots are taken, so there are never more models than slots. A function on
    the CPU needs no slot of a device. The device is waited for first: a run that waits for a GPU must not
    occupy a slot of the server, which runs on other machines could use.

    A function that takes a `device`, and for which none was chosen, gets the first accelerator that is free.
    What a loaded function says of its device, and of those of the functions that it runs, counts: if it uses
    an accelerator without a slot, the run takes that one too, or waits for it without the function.

    Args:
        function: The function.
        server: The URL of the CVAT server.
        warn: Called with a message about once a minute while the run waits.
    """
    chosen = _chosen_device(function)
    choices = _choices(_named_devices(function))
    while True:
        with ExitStack() as taken, ExitStack() as in_memory:
            held = _wait_for_first_free(taken, choices) if choices else ()
            taken.enter_context(server_slot(server, warn=warn))
            given = chosen or (held[0] if held and takes_device(function) else None)
            loaded = function.get_function(given)
            in_memory.callback(close_function, loaded)
            used = _choices(_devices_of(loaded))
            if (
                not used
                or any(set(held).issuperset(each) for each in used)
                or _take_first_free(taken, [[name for name in each if name not in held] for each in used])
            ):
                yield loaded
                return
            # another run uses a device: wait for it without a model in memory or a slot of the server
            del loaded
        choices = used


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
    with ExitStack() as slot:
        [free] = _wait_for_first_free(slot, [[device] for device in devices], timeout=timeout)
        yield free


def local_devices() -> list[str]:
    """The names of the accelerators of this machine, such as `cuda:0`; none where torch is not installed."""
    try:
        import torch
    except ImportError:
        return []
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*devices, *(["mps"] if torch.backends.mps.is_available() else [])]


def takes_device(function: CvatFunction) -> bool:
    """Whether a function takes a `device`, or passes it on to one that does.

    Raises:
        FunctionLoadError: There is no function of this name, it is not allowed, or it cannot be imported.
    """
    return takes_parameter(function.function, "device") or (
        runs_others(function.function)
        and any(
            takes_parameter(each, "device")
            for each in functions_named_in(parse_parameters(function.function_parameters or {}))
        )
    )


def _chosen_device(function: CvatFunction) -> str | None:
    """The device that the user has chosen, as `device` or as a parameter of the function; None for any."""
    device = function.device or parse_parameters(function.function_parameters or {}).get("device")
    return None if device in _ANY else _numbered(str(device))


def _named_devices(function: CvatFunction) -> set[str]:
    """The devices of a function, and of those that it runs, by its parameters; `auto` for any accelerator.

    The device of the function itself counts if it takes one, and if not each of the functions that it runs
    and that takes a device has its own, as `NAME.device`.
    """
    parameters = parse_parameters(function.function_parameters or {})
    of_members = {
        name.removesuffix(".device"): value for name, value in parameters.items() if name.endswith(".device")
    }
    devices = {_numbered(str(value)) for value in of_members.values() if value not in _ANY}
    others = {name: value for name, value in parameters.items() if name.partition(".")[0] not in of_members}
    if of_members and not any(
        takes_parameter(each, "device") or runs_others(each) for each in functions_named_in(others)
    ):
        return devices
    chosen = _chosen_device(function)
    return devices | ({chosen} if chosen else {"auto"} if takes_device(function) else set())


def _devices_of(function: object) -> set[str]:
    """The devices that a function, and those that it runs, say that they use; `auto` for any accelerator.

    A function that is made for a task has its model later: on the device that it was given, or any.
    """
    if nested := read_attribute(function, "nested_functions"):
        return {device for each in nested for device in _devices_of(each)}
    device = read_attribute(function, "device")
    if device is None and not isinstance(function, FunctionForTask):
        return set()
    return {"auto" if device in _ANY else _numbered(str(device))}


def _choices(devices: Collection[str]) -> list[list[str]]:
    """The accelerators whose slots are to be taken, all of one of these lists; none for the CPU.

    A function that may use any accelerator uses the first of those that others need.
    """
    accelerators = sorted(device for device in devices if device != "auto" and _is_accelerator(device))
    if accelerators:
        return [accelerators]
    return [[device] for device in local_devices()] if "auto" in devices else []


def _wait_for_first_free(
    slot: ExitStack, choices: Sequence[Sequence[str]], *, timeout: float | None = None
) -> Sequence[str]:
    """Wait until all devices of one of some choices are free, and take their slots.

    Raises:
        TimeoutError: None was free in time.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    delay = FIRST_POLL_SECONDS
    while (free := _take_first_free(slot, choices)) is None:
        if deadline is not None and time.monotonic() > deadline:
            names = ", ".join(device for each in choices for device in each)
            raise TimeoutError(f"none of the devices {names} was free in {timeout:.0f} s")
        time.sleep(min(delay, POLL_SECONDS))
        delay *= 2
    return free


def _take_first_free(slot: ExitStack, choices: Sequence[Sequence[str]]) -> Sequence[str] | None:
    return next(
        (each for each in choices if try_slots(slot, {device_limit(device): 1 for device in each})), None
    )


def _numbered(device: str) -> str:
    """The name of a device with its number: `cuda` is `cuda:0`, as in torch."""
    return "cuda:0" if device == "cuda" else device


def _is_accelerator(device: str) -> bool:
    """Whether one run at a time may use a device: true of all but the CPU."""
    return device.partition(":")[0] != "cpu"
