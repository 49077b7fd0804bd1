"""The worker that processes media behind the requests."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Worker:
    """Runs jobs one after another in a thread of its own."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-worker")

    def submit(self, work: Callable[[], None]) -> None:
        """Queues a job. It must report its own failure: nobody waits for it."""
        self._executor.submit(work)

    def close(self) -> None:
        """Finishes the job that runs and drops the ones that wait."""
        self._executor.shutdown(wait=True, cancel_futures=True)
