"""A thread that processes uploaded media in the background."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Worker:
    """Runs functions one after another in one thread."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-worker")

    def submit(self, work: Callable[[], None]) -> None:
        """Queue a function. It must report its own failure, since nobody waits for its result."""
        self._executor.submit(work)

    def close(self) -> None:
        """Finish the running function and drop the queued ones."""
        self._executor.shutdown(wait=True, cancel_futures=True)
