"""Processes several jobs at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextvars import copy_context

from prefect_cvat.cvat.annotation_reading import PARALLEL_REQUESTS
from prefect_cvat.upload.job_writer import JobWriter

__all__ = ["for_each_job"]


def for_each_job(
    do: Callable[[JobWriter], object], writers: Iterable[JobWriter], *, despite_errors: bool = False
) -> None:
    """Call a function for each job, `PARALLEL_REQUESTS` at a time; return when all calls have ended.

    Args:
        do: The function.
        writers: The jobs.
        despite_errors: Whether to begin further calls after one has failed.

    Raises:
        PrefectCvatError: The first error of a call.
    """
    writers = list(writers)
    if len(writers) < 2:
        for writer in writers:
            do(writer)
        return
    errors: list[Exception] = []
    with ThreadPoolExecutor(PARALLEL_REQUESTS, thread_name_prefix="jobs") as pool:
        # Prefect's loggers find the run of a thread in its context
        futures = [pool.submit(copy_context().run, do, writer) for writer in writers]
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
