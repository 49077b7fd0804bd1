"""Processes several jobs, or groups of jobs, at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from prefect_cvat.cvat.annotation_reading import PARALLEL_REQUESTS

__all__ = ["for_each_job"]

Jobs = TypeVar("Jobs")


def for_each_job(do: Callable[[Jobs], object], jobs: Iterable[Jobs], *, despite_errors: bool = False) -> None:
    """Call a function for each job, `PARALLEL_REQUESTS` at a time; return when all calls have ended.

    Args:
        do: The function.
        jobs: The jobs, or groups of jobs.
        despite_errors: Whether to begin further calls after one has failed.

    Raises:
        PrefectCvatError: The first error of a call.
    """
    jobs = list(jobs)
    if len(jobs) < 2:
        for each in jobs:
            do(each)
        return
    errors: list[Exception] = []
    with ThreadPoolExecutor(PARALLEL_REQUESTS, thread_name_prefix="jobs") as pool:
        # Prefect's loggers find the run of a thread in its context
        futures = [pool.submit(copy_context().run, do, each) for each in jobs]
        for future in futures:
            try:
                future.result()
            except CancelledError:
                continue
            except Exception as error:
                errors.append(error)
                if not despite_errors:
                    pool.shutdown(wait=False, cancel_futures=True)
    if errors:
        raise errors[0]
