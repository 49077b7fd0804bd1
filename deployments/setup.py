"""What `prefect-cvat setup` makes on a Prefect server. It may be run again at any time."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prefect_cvat.tasks.limits import DEFAULT_RUNS_PER_SERVER, device_limit, ensure_limit, server_limit

__all__ = ["local_devices", "set_up_limits"]


def local_devices() -> list[str]:
    """The accelerators of this machine, such as `cuda:0`."""
    devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return [*devices, *(["mps"] if torch.backends.mps.is_available() else [])]


def set_up_limits(
    url: str, *, runs_per_server: int = DEFAULT_RUNS_PER_SERVER, devices: Sequence[str] | None = None
) -> list[str]:
    """Make the limits of runs on a CVAT server and on the devices of this machine.

    Args:
        url: The CVAT server.
        runs_per_server: How many runs may work on it at a time.
        devices: The devices of this machine, each for one run at a time; None looks for them.

    Returns:
        What was done, a line for each limit.
    """
    wanted = [(server_limit(url), runs_per_server)]
    wanted += [(device_limit(device), 1) for device in (local_devices() if devices is None else devices)]
    return [
        f"limit {name}: {limit} at a time ({ensure_limit(name, limit, overwrite=True)})"
        for name, limit in wanted
    ]
