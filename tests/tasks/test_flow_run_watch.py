"""What stops with its flow run, on a real Prefect server."""

import threading
from contextlib import ExitStack
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run
from prefect.states import Cancelling

from prefect_cvat.exceptions import RunStoppedError
from prefect_cvat.tasks import flow_run_watch
from prefect_cvat.tasks.flow_run_watch import stopped_with_flow_run

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(flow_run_watch, "SECONDS_BETWEEN_CHECKS", 0.1)


@pytest.fixture
def reads(monkeypatch):
    """The threads that have read the state of a flow run, once for each time."""
    threads = []
    read = SyncPrefectClient.read_flow_run

    def noted(self, *args):
        threads.append(threading.current_thread())
        return read(self, *args)

    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", noted)
    return threads


def cancel_current_run():
    with get_client(sync_client=True) as prefect:
        prefect.set_flow_run_state(flow_run.id, Cancelling(), force=True)


def test_one_thread_stops_all_that_belongs_to_a_flow_run(reads):
    stopped = [threading.Event() for _ in range(3)]

    @flow(persist_result=False)
    def three():
        with ExitStack() as stack:
            for each in stopped:
                stack.enter_context(stopped_with_flow_run(each.set))
            assert not any(each.is_set() for each in stopped)
            cancel_current_run()
            assert all(each.wait(60) for each in stopped)
            late = threading.Event()
            with stopped_with_flow_run(late.set):
                assert late.is_set()
        return len({thread for thread in reads if thread.name == "flow run watch"})

    assert three() == 1
    assert not flow_run_watch._watches


def test_goes_on_after_the_first_has_ended(reads):
    second = threading.Event()

    @flow(persist_result=False)
    def two():
        with ExitStack() as first, stopped_with_flow_run(second.set):
            first.enter_context(stopped_with_flow_run(pytest.fail))
            first.close()
            cancel_current_run()
            assert second.wait(60)

    two()


def test_flow_run_that_was_deleted_stops_what_belongs_to_it(monkeypatch):
    monkeypatch.setattr(flow_run_watch, "flow_run", SimpleNamespace(id=uuid4()))
    stopped = threading.Event()

    def work():
        with stopped_with_flow_run(stopped.set):
            assert stopped.wait(60)
            raise RunStoppedError("stopped")

    with pytest.raises(RunStoppedError, match="is deleted"):
        work()
