"""Slots that are held by leases, on a real Prefect server."""

import time
from asyncio import CancelledError
from contextlib import ExitStack
from unittest.mock import Mock

import pytest
from httpx import HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.concurrency import _leases

from polling import until
from prefect_cvat.tasks.prefect_limits import ensure_limit
from prefect_cvat.tasks.slot_leases import take_slots
from prefect_proxy import prefect_proxy

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.filterwarnings("default")]

FIRST, SECOND = "prefect-cvat-lease-1", "prefect-cvat-lease-2"
TAKE = "POST /api/v2/concurrency_limits/increment-with-lease"
RENEW = "POST /api/v2/concurrency_limits/leases/.../renew"
RETURN = "POST /api/v2/concurrency_limits/decrement-with-lease"


@pytest.fixture(autouse=True)
def limits():
    """Two limits with two slots each, of which none are taken."""
    for name in (FIRST, SECOND):
        ensure_limit(name, 2)
    yield
    with get_client(sync_client=True) as prefect:
        for name in (FIRST, SECOND):
            prefect.delete_global_concurrency_limit_by_name(name)


def slots_of(name):
    with get_client(sync_client=True) as prefect:
        return prefect.read_global_concurrency_limit_by_name(name).active_slots


def test_takes_slots_of_the_limits_that_exist_and_says_which():
    with ExitStack() as taken:
        assert sorted(take_slots(taken, [FIRST, "prefect-cvat-nowhere", SECOND], occupy=2)) == [FIRST, SECOND]
        assert (slots_of(FIRST), slots_of(SECOND)) == (2, 2)
    assert (slots_of(FIRST), slots_of(SECOND)) == (0, 0)


def test_takes_slots_of_all_limits_or_of_none():
    with ExitStack() as taken:
        take_slots(taken, [SECOND], occupy=1)
        assert take_slots(taken, [FIRST, SECOND], occupy=2) is None
        assert (slots_of(FIRST), slots_of(SECOND)) == (0, 1)


def test_short_use_takes_one_request_for_each_step():
    with prefect_proxy() as requests:
        with ExitStack() as taken:
            take_slots(taken, [FIRST, SECOND], occupy=1)
            time.sleep(0.3)
        asked = {route: number for route, number in requests.routes.items() if "concurrency" in route}
    assert asked == {TAKE: 1, RENEW: 1, RETURN: 1}


def test_run_whose_lease_has_expired_ends(monkeypatch):
    monkeypatch.setattr(_leases, "_RENEWAL_RETRY_BASE_DELAY", 0.1)
    monkeypatch.setattr(SyncPrefectClient, "renew_concurrency_lease", Mock(side_effect=TimeoutError))
    with ExitStack() as taken:
        take_slots(taken, [FIRST], occupy=1)
        with pytest.raises(CancelledError):
            until(lambda: False)
    assert slots_of(FIRST) == 0


def test_refuses_more_slots_than_there_are():
    with ExitStack() as taken, pytest.raises(HTTPStatusError, match="422"):
        take_slots(taken, [FIRST], occupy=3)
