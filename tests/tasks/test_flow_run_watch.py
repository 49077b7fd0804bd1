"""What stops with its flow run, on a real Prefect server."""

import threading
from contextlib import ExitStack
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect import flow, task
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.runtime import flow_run
from prefect.states import Cancelling, Running

from polling import until
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
        if threading.current_thread().name == "flow run watch":
            threads.append(threading.current_thread())
        return read(self, *args)

    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", noted)
    return threads


def set_state(state):
    with get_client(sync_client=True) as prefect:
        prefect.set_flow_run_state(flow_run.id, state, force=True)


def test_one_thread_stops_all_that_belongs_to_a_flow_run(reads):
    stopped = [threading.Event() for _ in range(3)]

    @flow(persist_result=False)
    def three():
        with ExitStack() as stack:
            for each in stopped:
                stack.enter_context(stopped_with_flow_run(each.set))
            assert not any(each.is_set() for each in stopped)
            set_state(Cancelling())
            assert all(each.wait(60) for each in stopped)
        return len(set(reads))

    assert three() == 1
    assert not flow_run_watch._watches


def test_watch_goes_on_after_the_task_that_began_it(reads):
    first = ExitStack()
    stopped, stopped_first = threading.Event(), threading.Event()

    @task
    def begin():
        first.enter_context(stopped_with_flow_run(stopped_first.set))

    @flow(persist_result=False)
    def two():
        begin.submit().wait()
        with stopped_with_flow_run(stopped.set):
            first.close()
            number = len(reads)
            until(lambda: len(reads) > number + 1)
            set_state(Cancelling())
            assert stopped.wait(60)

    two()
    assert not stopped_first.is_set()


def test_flow_run_that_runs_again_does_not_stop_what_begins_then():
    @flow(persist_result=False)
    def retried():
        old, new = threading.Event(), threading.Event()
        with stopped_with_flow_run(old.set):
            set_state(Cancelling())
            assert old.wait(60)
            set_state(Running())
            with stopped_with_flow_run(new.set):
                assert not new.wait(1)
                set_state(Cancelling())
                assert new.wait(60)

    retried()


def test_looks_again_after_an_answer_that_cannot_be_read(monkeypatch):
    answers = []
    read = SyncPrefectClient.read_flow_run

    def broken_first(self, *args):
        answers.append(1)
        if len(answers) == 1:
            raise ValueError("<html>please sign in</html>")
        return read(self, *args)

    monkeypatch.setattr(flow_run_watch, "flow_run", SimpleNamespace(id=uuid4()))
    monkeypatch.setattr(SyncPrefectClient, "read_flow_run", broken_first)
    stopped = threading.Event()
    with stopped_with_flow_run(stopped.set):
        assert stopped.wait(60)


def test_flow_run_that_was_deleted_stops_what_belongs_to_it(monkeypatch):
    monkeypatch.setattr(flow_run_watch, "flow_run", SimpleNamespace(id=uuid4()))
    stopped = threading.Event()

    def work():
        with stopped_with_flow_run(stopped.set):
            assert stopped.wait(60)
            raise RunStoppedError("stopped")

    with pytest.raises(RunStoppedError, match="is deleted"):
        work()
