"""The thread of a function, where callers give up."""

import threading
import time

import pytest

from polling import until
from prefect_cvat.gateway.function_thread import FunctionThread, Job


@pytest.fixture
def thread():
    """A thread whose calls wait for `go`; the calls that it has run are in `done`."""
    done, go = [], threading.Event()

    def run(batch):
        assert go.wait(30)
        for job in batch:
            done.append(job.call)
            job.answer.set_result(b"")

    made = FunctionThread("det", run, lambda: 8, lambda: None)
    made.done, made.go = done, go
    yield made
    go.set()
    made.close()
    made.join(30)


def job(call):
    return Job(call, time.monotonic() + 60)


def test_function_is_not_busy_after_its_only_caller_gave_up_while_it_waited_for_others(thread):
    thread.announce(1)  # so it waits a moment for another call
    thread.submit(only := job(1))
    only.answer.cancel()
    thread.go.set()
    thread.announce(-1)
    time.sleep(0.1)
    assert thread.busy_seconds == 0
    thread.submit(next_one := job(2))
    assert next_one.answer.result(30) == b""
    assert thread.done == [2]


def test_calls_of_callers_that_have_gone_are_dropped_at_once(thread):
    thread.submit(first := job(0))
    until(lambda: thread.busy_seconds > 0)
    waiting = [job(number) for number in range(1, 100)]
    for each in waiting:
        thread.submit(each)
    for each in waiting[:-1]:
        each.answer.cancel()
    assert len(thread._jobs) == 1
    thread.go.set()
    assert [first.answer.result(30), waiting[-1].answer.result(30)] == [b"", b""]
    assert thread.done == [0, 99]
