"""Runs that a worker has picked up, but that do not start: by the clock of this process alone."""

import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Pending, Scheduled

from prefect_cvat.flows import fan_out
from prefect_cvat.flows.fan_out import START_TIMEOUT_SECONDS, _Active, _state_of

pytestmark = pytest.mark.usefixtures("prefect_server")

LATER = SimpleNamespace(monotonic=lambda: time.monotonic() + START_TIMEOUT_SECONDS + 1)
"""The clock of `fan_out` after the time that a run has to start. The module's own: event loops use the other."""


@flow
def waiting():
    """Never started."""


@pytest.fixture
def prefect():
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def picked_up(prefect):
    """A run that a worker has picked up, as read from a server whose clock is eleven minutes slow."""
    run = prefect.create_flow_run(waiting, state=Pending())
    slow = datetime.now(UTC) - timedelta(minutes=11)
    return run.model_copy(update={"state": run.state.model_copy(update={"timestamp": slow})})


@pytest.fixture
def active(picked_up):
    return _Active(planned=None, flow_run=picked_up, is_own=True)


def test_run_on_a_server_with_another_clock_is_not_taken_for_dead(prefect, picked_up, active):
    for _ in range(2):
        assert _state_of(prefect, active, picked_up).is_pending()
    assert prefect.read_flow_run(picked_up.id).state.is_pending()


def test_run_that_does_not_start_is_marked_crashed(prefect, picked_up, active, monkeypatch):
    assert _state_of(prefect, active, picked_up).is_pending()
    monkeypatch.setattr(fan_out, "time", LATER)

    assert _state_of(prefect, active, picked_up).is_crashed()

    assert prefect.read_flow_run(picked_up.id).state.is_crashed()


def test_run_that_is_picked_up_again_has_all_the_time_again(prefect, picked_up, active, monkeypatch):
    scheduled = prefect.create_flow_run(waiting, state=Scheduled())
    assert _state_of(prefect, active, picked_up).is_pending()
    assert _state_of(prefect, active, scheduled).is_scheduled()
    monkeypatch.setattr(fan_out, "time", LATER)
    active.since = LATER.monotonic()

    assert _state_of(prefect, active, picked_up).is_pending()
