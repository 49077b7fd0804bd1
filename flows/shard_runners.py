"""Where the shards of `annotate shards` run: in threads of the flow run, or on a cluster of Dask or Ray."""

from __future__ import annotations

from typing import Any, cast

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from prefect_cvat.extras import import_library

__all__ = ["shard_task_runner"]

DASK_SCHEMES = ("tcp", "tls", "ws", "wss", "ucx", "ucxx")
"""How addresses of Dask's schedulers begin."""


def shard_task_runner(cluster: str | None) -> TaskRunner[Any]:
    """The task runner of the flow. It changes where the shards run, and nothing else.

    Args:
        cluster: `dask` or `ray` for a cluster that each flow run starts on this machine; the address of a
            Dask scheduler (`tcp://host:8786`) or of a Ray cluster (`ray://host:10001`); None for threads.

    Raises:
        MissingLibraryError: The library of the cluster is not installed.
        ValueError: The cluster is none of these.
    """
    if cluster is None:
        return ThreadPoolTaskRunner()
    scheme = cluster.partition("://")[0]
    address = None if cluster == scheme else cluster
    if scheme == "ray":
        ray = import_library("prefect_ray.task_runners", "shards on Ray")
        return cast("TaskRunner[Any]", ray.RayTaskRunner(address=address))
    if cluster == "dask" or (address and scheme in DASK_SCHEMES):
        dask = import_library("prefect_dask.task_runners", "shards on Dask")
        started_here = {} if address else {"cluster_kwargs": {"threads_per_worker": 1}}
        return cast("TaskRunner[Any]", dask.DaskTaskRunner(address=address, **started_here))
    raise ValueError(
        f"PREFECT_CVAT_CLUSTER={cluster} is no cluster: it is dask or ray for one on this machine, or an"
        " address such as tcp://host:8786 (Dask) or ray://host:10001 (Ray)"
    )
