"""Loads a function on a device of this machine that no other run uses: one run at a time on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from prefect_cvat.auto_annotation.function_calls import close_function, read_attribute
from prefect_cvat.auto_annotation.function_for_task import FunctionForTask
from prefect_cvat.auto_annotation.functions_in_parameters import (
    devices_named_in,
    functions_named_in,
    runs_others,
)
from prefect_cvat.auto_annotation.loading import parse_parameters, takes_parameter
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.tasks.flow_run_watch import raise_if_stopped
from prefect_cvat.tasks.prefect_limits import FIRST_POLL_SECONDS, device_limit, server_slot, try_slots

__all__ = [
    "DeviceInUseError",
    "device_slot",
    "loaded_function",
    "local_devices",
    "needs_no_device",
    "takes_device",
]

POLL_SECONDS = 2.0
"""How often, at the longest, a waiting run checks whether a device is free."""

_ANY = (None, "", "auto")
"""The values of `device` that leave the choice to the run."""


class DeviceInUseError(Exception):
    """Another run uses a device, and this one must not wait for it with a slot of the CVAT server.

    Attributes:
        devices: The devices that the function needs; `auto` for any accelerator.
    """

    def __init__(self, devices: Collection[str | None]) -> None:
        self.devices = devices
        super().__init__(f"another run uses one of the devices {devices}")


@contextmanager
def loaded_function(
    function: CvatFunction,
    server: str | None,
    *,
    devices: Collection[str | None] = (),
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[Any]:
    """Wait for slots of devices and one of the CVAT server, load a function, and close it afterwards.

    The model is loaded once the slots are taken, so there are never more models than slots. A function on
    the CPU needs no slot of a device. The device is waited for first: a run that waits for a GPU must not
    occupy a slot of the server, which runs on other machines could use.

    A function that takes a `device`, and for which none was chosen, gets the first accelerator that is free.
    What a loaded function says of its device, and of those of the functions that it runs, counts: if it uses
    an accelerator without a slot, the run takes that one too, or waits for it without the function. Slots
    that it does not use are returned.

    Args:
        function: The function.
        server: The URL of the CVAT server; None if the run has a slot of it already.
        devices: Devices that it needs besides those that its parameters name, see `DeviceInUseError`.
        warn: Called with a message about once a minute while the run waits.

    Raises:
        DeviceInUseError: The run has a slot of the server, and another run has a device that it needs.
    """
    needed = _named_devices(function) | {*devices}
    may_choose = _chosen_device(function) is None and takes_device(function)
    while True:
        with ExitStack() as taken, ExitStack() as in_memory:
            taken_before = taken.enter_context(ExitStack())
            held = _wait_for_first_free(taken_before, _choices(needed))
            if server is not None:
                taken.enter_context(server_slot(server, warn=warn))
            given = held[0] if held and may_choose else None
            loaded = function.get_function(given)
            in_memory.callback(close_function, loaded)
            used = _devices_of(loaded)
            missing = [[device for device in each if device not in held] for each in _choices(used)]
            more = _take_first_free(taken, sorted(missing, key=len))
            if more is not None:
                if isinstance(loaded, FunctionForTask) and (held or more):
                    loaded.use_device([*held, *more][0])
                if used.isdisjoint({*held, "auto", None}):
                    taken_before.close()
                yield loaded
                return
            # another run uses a device: wait for it without a model in memory or a slot of the server
            del loaded
        needed |= used - {given, None}  # another device may be given then
        if server is None:
            raise DeviceInUseError(needed)


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


def needs_no_device(function: CvatFunction) -> bool:
    """Whether a function runs on the CPU alone, as far as its parameters say."""
    return _choices(_named_devices(function)) == [[]]


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
    return _takes_device(function.function, parse_parameters(function.function_parameters or {}))


def _takes_device(name: str, parameters: Mapping[str, Any]) -> bool:
    names = functions_named_in(parameters) if runs_others(name) else [name]
    return any(takes_parameter(each, "device") for each in names if not runs_others(each))


def _chosen_device(function: CvatFunction) -> str | None:
    """The device that the user has chosen, as `device` or as a parameter of the function; None for any."""
    device = function.device or parse_parameters(function.function_parameters or {}).get("device")
    return None if device in _ANY else _numbered(str(device))


def _named_devices(function: CvatFunction) -> set[str | None]:
    """The devices of a function, and of those that it runs, by its parameters; `auto` for any accelerator.

    The device of the function itself counts unless each of the functions that it runs and that takes a device
    has its own, as `NAME.device`.
    """
    parameters = parse_parameters(function.function_parameters or {})
    of_members = {
        name.removesuffix(".device"): value for name, value in parameters.items() if name.endswith(".device")
    }
    named = [value for value in of_members.values() if value not in _ANY]
    devices: set[str | None] = {
        _numbered(str(each)) for each in (*named, *devices_named_in([*parameters.values()]))
    }
    others = {name: value for name, value in parameters.items() if name.partition(".")[0] not in of_members}
    chosen = _chosen_device(function)
    if (chosen and not of_members) or _takes_device(function.function, others):
        devices.add(chosen or "auto")
    return devices


def _devices_of(function: object) -> set[str | None]:
    """The devices that a function, and those that it runs, say that they use.

    `auto` is any accelerator, and None a device that is not known. A function that is made for a task has its
    model later: on the devices that its parameters name, or if it takes a device on any.
    """
    nested = read_attribute(function, "nested_functions") or ()
    devices = {device for each in nested for device in _devices_of(each)}
    if (device := read_attribute(function, "device")) is not None:
        devices.add("auto" if device in _ANY else _numbered(str(device)))
    if isinstance(function, FunctionForTask):
        devices |= {_numbered(each) for each in devices_named_in(function.parameters)}
        devices |= {"auto"} if function.may_choose_device else set()
    return devices or {None}


def _choices(devices: Collection[str | None]) -> list[list[str]]:
    """The accelerators whose slots are to be taken, all of one of these lists; an empty list if none.

    A function that may use any accelerator uses the first of those that others need.
    """
    accelerators = sorted(each for each in devices if each and each != "auto" and _is_accelerator(each))
    if "auto" in devices and not accelerators:
        return [[device] for device in local_devices()] or [[]]
    return [accelerators]


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
        raise_if_stopped()
        if deadline is not None and time.monotonic() > deadline:
            names = ", ".join(device for each in choices for device in each)
            raise TimeoutError(f"none of the devices {names} was free in {timeout:.0f} s")
        time.sleep(min(delay, POLL_SECONDS))
        delay *= 2
    return free


def _take_first_free(slot: ExitStack, choices: Sequence[Sequence[str]]) -> Sequence[str] | None:
    for each in choices:
        if not each or try_slots(slot, {device_limit(device): 1 for device in each}):
            return each
    return None


def _numbered(device: str) -> str:
    """One name for each device: `cuda` is `cuda:0`, as in torch; `mps` and `cpu` have no numbers."""
    kind, _, number = device.partition(":")
    return kind if kind in ("cpu", "mps") else f"{kind}:{number or 0}"


def _is_accelerator(device: str) -> bool:
    """Whether one run at a time may use a device: true of all but the CPU."""
    return device.partition(":")[0] != "cpu"
