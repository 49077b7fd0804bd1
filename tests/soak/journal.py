"""Records what the server did, in order, and for which user.

It hooks into the database writes of the sandbox, so that network faults hide nothing from it. Each run logs in as
its own user, which identifies it even if the server executes a request after the end of the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from prefect_cvat.sandbox import endpoint
from prefect_cvat.sandbox.annotations import annotation_store
from prefect_cvat.sandbox.faults.middleware import FaultMiddleware

Json = dict[str, Any]
Key = tuple[str, int]
"""The kind (`tags`, `shapes` or `tracks`) and the id of an annotation."""

KINDS = {"tag": "tags", "shape": "shapes", "track": "tracks"}
_ARRIVED = b"x-soak-arrived"
_acting = threading.local()
_journals: dict[str, Journal] = {}


@dataclass(frozen=True)
class Event:
    """Something that the server did.

    Attributes:
        at: The time; of a write, within its transaction.
        arrived: The time at which the request arrived.
        actor: The user, or the actor on the database itself.
        action: `insert`, `delete` or `correct`, or `read` for the reading of a job.
        job: The id of the job.
        items: The annotations as they are (or, if deleted, were) stored, with their kinds.
    """

    at: float
    arrived: float
    actor: str
    action: Literal["insert", "delete", "correct", "read"]
    job: int
    items: Sequence[tuple[str, Json]] = ()


@dataclass
class Journal:
    """The events of one schedule."""

    events: list[Event] = field(default_factory=list)

    def keep(self, actor: str) -> None:
        """From now on, take what this actor does."""
        _journals[actor] = self

    def close(self) -> None:
        """Stop recording."""
        for actor in [actor for actor, journal in _journals.items() if journal is self]:
            del _journals[actor]


@contextmanager
def acting(actor: str) -> Iterator[None]:
    """What this thread does is done by an actor."""
    _acting.name, _acting.arrived = actor, time.monotonic()
    try:
        yield
    finally:
        _acting.name = ""


def note(
    action: Literal["insert", "delete", "correct", "read"], job: int, items: Sequence[tuple[str, Json]] = ()
) -> None:
    """Write down that this thread's actor did something."""
    name = getattr(_acting, "name", "")
    if (journal := _journals.get(name)) is not None:
        journal.events.append(Event(time.monotonic(), _acting.arrived, name, action, job, items))


def _forget_inserted(job_id: int, kind: str, number: int) -> None:
    """Take an annotation out of the last insertion into its job: a request about a task makes one for each job."""
    if (journal := _journals.get(getattr(_acting, "name", ""))) is None:
        return
    index = max(
        i
        for i, event in enumerate(journal.events)
        if event.actor == _acting.name and event.action == "insert" and event.job == job_id
    )
    event = journal.events[index]
    items = [(of, item) for of, item in event.items if (of, item["id"]) != (kind, number)]
    journal.events[index] = replace(event, items=items)


def stored(db: Any, job_id: int) -> dict[Key, Json]:
    """All that a job holds."""
    return {
        (KINDS[table], item["id"]): item
        for table in KINDS
        for item in annotation_store.items(db, table, job_id)
    }


def _install() -> None:
    """Take down what any sandbox of this process does."""
    insert, delete, bodies = annotation_store.insert, annotation_store.delete, annotation_store.bodies
    delete_one = annotation_store.delete_one
    authenticate, answer = endpoint.authenticate, FaultMiddleware.__call__

    def noting_insert(db: Any, job_id: int, annotations: Any, labels: Any) -> Any:
        inserted = insert(db, job_id, annotations, labels)
        there = stored(db, job_id)
        sides = {"tags": inserted.tags, "shapes": inserted.shapes, "tracks": inserted.tracks}
        items = [(kind, there[kind, item["id"]]) for kind, side in sides.items() for item in side]
        if items:
            note("insert", job_id, items)
        return inserted

    def noting_delete_one(db: Any, table: str, job_id: int, number: int) -> None:
        # a fault drops a part of the inserted annotations, within the same transaction
        _forget_inserted(job_id, KINDS[table], number)
        delete_one(db, table, job_id, number)

    def noting_delete(db: Any, job_id: int, annotations: Any) -> None:
        before = stored(db, job_id)
        delete(db, job_id, annotations)
        after = stored(db, job_id)
        if gone := [(key[0], item) for key, item in before.items() if key not in after]:
            note("delete", job_id, gone)

    def noting_bodies(db: Any, table: str, job_id: int, frames: Any = None) -> Any:
        if table == "tag":
            note("read", job_id)
        return bodies(db, table, job_id, frames)

    def noting_authenticate(call: Any) -> Any:
        account = authenticate(call)
        _acting.name = "" if account is None else account.username
        _acting.arrived = float(call.headers.get(_ARRIVED.decode(), time.monotonic()))
        return account

    async def stamping(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            stamp = (_ARRIVED, str(time.monotonic()).encode())
            scope = {**scope, "headers": [*scope["headers"], stamp]}
        await answer(self, scope, receive, send)

    annotation_store.insert, annotation_store.delete = noting_insert, noting_delete
    annotation_store.delete_one = noting_delete_one
    annotation_store.bodies, endpoint.authenticate = noting_bodies, noting_authenticate
    FaultMiddleware.__call__ = stamping  # type: ignore[method-assign]


_install()
