"""Stops what a process does for a flow run, on any machine, when that flow run is no longer running.

A cancelled flow run ends its own process only, and its shards may run on other machines. One thread in each
process looks for all shards of a flow run.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run

from prefect_cvat.exceptions import RunStoppedError

__all__ = ["stopped_with_flow_run"]

SECONDS_BETWEEN_CHECKS = 5.0
"""How often a process checks whether the flow run of its shards is still running."""


@contextmanager
def stopped_with_flow_run(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` when the current flow run is no longer running.

    Raises:
        RunStoppedError: The block was stopped; names the state of the flow run.
    """
    watch = _join(UUID(str(flow_run.id)), stop)
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


class _FlowRunWatch:
    """Reads the state of a flow run now and then, in a thread, until it is no longer running.

    Attributes:
        flow_run_id: The flow run.
        stops: What is called then; to be changed with `_lock` only.
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
        # settings of its own mean a client of its own: that of the first shard is closed before the last ends
        with get_client(httpx_settings={}, sync_client=True) as prefect:
            while not self._is_over.is_set():
                if (final_state := self._read_final_state(prefect)) is not None:
                    with _lock:
                        self.final_state = final_state
                        stops = [*self.stops]
                    for stop in stops:
                        stop()
                    return
                self._is_over.wait(SECONDS_BETWEEN_CHECKS)

    def _read_final_state(self, prefect: SyncPrefectClient) -> str | None:
        try:
            state = prefect.read_flow_run(self.flow_run_id).state
        except ObjectNotFound:
            return "deleted"
        except httpx.HTTPError:  # the next check may reach the Prefect server
            return None
        return None if state is None or state.is_running() else state.name


_watches: dict[UUID, _FlowRunWatch] = {}
_lock = threading.Lock()


def _join(flow_run_id: UUID, stop: Callable[[], None]) -> _FlowRunWatch:
    with _lock:
        watch = _watches.get(flow_run_id)
        if watch is None:
            watch = _watches[flow_run_id] = _FlowRunWatch(flow_run_id)
            watch.start()
        watch.stops.append(stop)
        is_over = watch.final_state is not None
    if is_over:
        stop()
    return watch


def _leave(watch: _FlowRunWatch, stop: Callable[[], None]) -> None:
    with _lock:
        watch.stops.remove(stop)
        if not watch.stops:
            del _watches[watch.flow_run_id]
            watch.end()
