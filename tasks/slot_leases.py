"""Slots of Prefect's global concurrency limits, held by a lease while a run works.

Prefect's `concurrency()` does the same, but does not say of which limits it has taken slots, and makes a
client, which asks for a token, for each lease that it returns. Here the client of the run takes and returns
them; the part of `concurrency()` that renews a lease, and ends a run that cannot renew it, is Prefect's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from uuid import UUID

from httpx import HTTPStatusError
from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import ConcurrencyLimitWithLeaseResponse
from prefect.concurrency._leases import maintain_concurrency_lease

from prefect_cvat.tasks.client_retries import client_retries

__all__ = ["LEASE_SECONDS", "take_slots"]

LEASE_SECONDS = 120
"""After this time the slots of a killed process are free again. Prefect renews a lease after three quarters
of it. If three attempts fail, Prefect ends the run, before another run can take the slots."""

RENEWAL_RETRIES = 2
"""HTTP retries of each of these attempts. All three attempts must fit into a quarter of the lease."""

_NOT_FREE = (423, 503)
"""How the Prefect server refuses slots: they are not free, or SQLite is busy."""


def take_slots(
    taken: ExitStack, names: Sequence[str], *, occupy: int, ends_if_lost: bool = True
) -> list[str] | None:
    """Take slots of those of some limits that exist: of all of these, or of none. It waits for none.

    A run that is interrupted while it takes slots leaves them taken until the lease ends.

    Args:
        taken: The stack that returns the slots when it is closed.
        names: The names of the limits.
        occupy: The number of slots to take of each.
        ends_if_lost: Whether the run ends if the slots cannot be renewed; else only a warning is logged.

    Returns:
        The names of the limits of which slots are taken; None if the slots of one of them are not free.

    Raises:
        HTTPStatusError: The Prefect server refused for another reason: 422 for more slots than a limit has.
        asyncio.CancelledError: Raised later, while slots are held: they could not be renewed.
    """
    # with Prefect's default number of retries a run would end later than another run can take the slots
    with client_retries(RENEWAL_RETRIES):
        with get_client(sync_client=True) as client:
            try:
                answer = client.increment_concurrency_slots_with_lease(
                    [*names], occupy, "concurrency", LEASE_SECONDS
                )
            except HTTPStatusError as error:
                if error.response.status_code in _NOT_FREE:
                    return None
                raise
        lease = ConcurrencyLimitWithLeaseResponse.model_validate_json(answer.content)
        found = [limit.name for limit in lease.limits]
        if found:  # else it is a lease of nothing
            taken.callback(_return, lease.lease_id)
            taken.enter_context(
                maintain_concurrency_lease(
                    lease.lease_id, LEASE_SECONDS, raise_on_lease_renewal_failure=ends_if_lost
                )
            )
    return found


def _return(lease: UUID) -> None:
    # a lease that cannot be returned ends by itself
    with suppress(Exception), get_client(sync_client=True) as client:
        client.release_concurrency_slots_with_lease(lease)
