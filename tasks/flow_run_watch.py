"""Stops what a process does for a flow run, on any machine, when that flow run is no longer running.

A cancelled flow run ends its own process only, and its shards may run on other machines. One thread in each
process looks for all shards of a flow run.
"""

from __future__ import annotations

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from prefect_cvat.exceptions import RunStoppedError

__all__ = ["raise_if_stopped", "stopped_with_flow_run"]

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_CHECKS = 5.0
"""How often a process checks whether the flow run of its shards is still running."""


@contextmanager
def stopped_with_flow_run(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when the current flow run is no longer running.

    Raises:
        RunStoppedError: The block was stopped; names the state of the flow run.
    """
    watch = _join(UUID(str(flow_run.id)), stop)
    before = _current.get()
    _current.set(watch)
    try:
        yield
    except RunStoppedError as error:
        if watch.final_state is None:
            raise
        raise RunStoppedError(
            f"the flow run of this shard is {watch.final_state}; run it again to complete it"
        ) from error
    finally:
        _leave(watch, stop)
        _current.set(before)


def raise_if_stopped() -> None:
    """End what `stopped_with_flow_run` has stopped; called wherever it waits.

    Raises:
        RunStoppedError: The flow run is no longer running.
    """
    watch = _current.get()
    if watch is not None and watch.final_state is not None:
        raise RunStoppedError("its flow run is no longer running")


class _FlowRunWatch:
    """Reads the state of a flow run now and then, in a thread, until it is no longer running.

    Attributes:
        flow_run_id: The flow run.
        stops: What is called then.
        final_state: The name of the state in which the flow run is no longer running.
    """

    def __init__(self, flow_run_id: UUID) -> None:
        self.flow_run_id = flow_run_id
        self.stops: list[Callable[[], None]] = []
        self.final_state: str | None = None
        self._is_over = threading.Event()
        # Prefect keeps the address of its server in a context variable
        self._thread = threading.Thread(
            target=contextvars.copy_context().run, args=(self._watch,), name="flow run watch", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """End the thread. A request that it waits for is not waited for here."""
        self._is_over.set()

    def _watch(self) -> None:
        while not self._is_over.is_set():
            try:
                final_state = self._read_final_state()
            except Exception as error:  # such as the page of a proxy
                logger.warning("the state of flow run %s cannot be read: %s", self.flow_run_id, error)
                final_state = None
            if final_state is not None:
                for stop in _end(self, final_state):
                    stop()
                return
            self._is_over.wait(SECONDS_BETWEEN_CHECKS)

    def _read_final_state(self) -> str | None:
        # settings of its own mean a client of its own: that of the first shard is closed before the last ends
        with get_client(httpx_settings={}, sync_client=True) as prefect:
            try:
                state = prefect.read_flow_run(self.flow_run_id).state
            except ObjectNotFound:
                return "deleted"
            except httpx.HTTPError:  # the next check may reach the Prefect server
                return None
        return None if state is None or state.is_running() else state.name


_current: contextvars.ContextVar[_FlowRunWatch | None] = contextvars.ContextVar("watch", default=None)
"""That of the current shard."""

_watches: dict[UUID, _FlowRunWatch] = {}
"""Those of flow runs that were running at the last check."""

_lock = threading.Lock()
"""Held to change that, and the watches in it."""


def _join(flow_run_id: UUID, stop: Callable[[], None]) -> _FlowRunWatch:
    with _lock:
        watch = _watches.get(flow_run_id)
        if watch is None:
            watch = _FlowRunWatch(flow_run_id)
            watch.start()
            _watches[flow_run_id] = watch
        watch.stops.append(stop)
    return watch


def _leave(watch: _FlowRunWatch, stop: Callable[[], None]) -> None:
    with _lock:
        watch.stops.remove(stop)
        if not watch.stops:
            watch.end()
            _forget(watch)


def _end(watch: _FlowRunWatch, final_state: str) -> list[Callable[[], None]]:
    """Note a final state; return what is to be called. Who joins later, after a retry, has a watch anew."""
    with _lock:
        watch.final_state = final_state
        _forget(watch)
        return [*watch.stops]


def _forget(watch: _FlowRunWatch) -> None:
    if _watches.get(watch.flow_run_id) is watch:
        del _watches[watch.flow_run_id]
