"""Checks the report of a run. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from soak.journal import Event
from soak.ledger import Ledger
from soak.runs import Ended
from soak.schedule import Schedule

NOT_GREEN = ("missing", "not_replaced", "doubled_by_others", "unsettled")
"""What a run that ends well must not have to report."""


@dataclass
class RunOf:
    """A run, and its place in the journal.

    Attributes:
        user: Its user in the journal.
        is_bad: Whether its function breaks its contract.
        first: Number of events when it began.
        last: Number of events when it ended.
        is_followed: Whether a request of an earlier run had not been executed when it began.
    """

    user: str
    home: str
    is_undo: bool
    is_bad: bool
    first: int = 0
    last: int = 0
    is_followed: bool = False
    ended: Ended | None = None

    def begins(self, events: int, pending: int) -> None:
        """It begins."""
        self.first, self.last, self.is_followed = events, 10**9, pending > 0

    def ends(self, events: int, ended: Ended) -> None:
        """It ends."""
        self.last, self.ended = events, ended


def problems_of_reports(schedule: Schedule, ledger: Ledger, this: RunOf, runs: Sequence[RunOf]) -> list[str]:
    """The errors in the report of a run.

    Args:
        schedule: What was tried.
        ledger: At the moment of its end.
        this: The run.
        runs: All runs.
    """
    problems = []
    if this.ended is None:
        return []
    if this.ended.error == "BadFunctionError" and (left := _left_behind(ledger, this)):
        problems.append(f"{this.user}: broke its contract and left behind {left}")
    if this.ended.state != "done" or not this.ended.report:
        return problems
    report = this.ended.report
    problems += [f"{this.user}: ended well with {n}={report[n]}" for n in NOT_GREEN if report.get(n)]
    others = [each for each in runs if each is not this and each.first < this.last and each.last > this.first]
    made = ledger.inserted[this.user] - ledger.own_deleted[this.user]
    gone = ledger.others_deleted[this.user]
    is_exact = not others and not this.is_followed and not _is_meddled_with(schedule)
    if this.is_undo:
        if is_exact and report["removed"] != gone:
            problems.append(f"{this.user}: says removed {report['removed']}, but it was {gone}")
        return problems
    if is_exact and (report["added"], report["removed"]) != (made, gone):
        said = f"added {report['added']} and removed {report['removed']}"
        problems.append(f"{this.user}: says {said}, but it was {made} and {gone}")
    if schedule.kind in ("annotate", "track", "undo"):
        wants = sum(map(len, ledger.wanted.values()))
        if is_exact and report["added"] + report["already_there"] != wants:
            problems.append(
                f"{this.user}: says added {report['added']} and already there {report['already_there']}; wanted: {wants}"
            )
        if not any(each.is_bad or each.is_undo for each in others):
            problems += _absent(ledger, this)
    return problems


def _is_meddled_with(schedule: Schedule) -> bool:
    return bool(schedule.human)


def _left_behind(ledger: Ledger, this: RunOf) -> Counter[int]:
    """The number of annotations of a run, by job."""
    return Counter(
        job_id
        for job_id, items in ledger.jobs.items()
        for each in items.values()
        if each.by == this.user and each.touched == float("-inf")
    )


def _absent(ledger: Ledger, this: RunOf) -> Iterable[str]:
    for job_id, frames in ledger.task.annotated.items():
        on = frames if ledger.wanted[job_id] else ()
        lacking = ledger.lacking(job_id, on)
        if lacking:
            yield f"{this.user}: ended well, but job {job_id} lacks {dict(lacking)}"


def problems_of_homes(runs: Sequence[RunOf], events: Iterable[Event]) -> list[str]:
    """Which runs of one home wrote at the same time: on one machine there is one at a time."""
    spans: dict[str, tuple[float, float]] = {}
    for event in events:
        if event.action != "read":
            first, last = spans.get(event.actor, (event.arrived, event.arrived))
            spans[event.actor] = min(first, event.arrived), max(last, event.arrived)
    writing = [each for each in runs if each.user in spans]
    return [
        f"{one.user} and {other.user} wrote at the same time, on one machine"
        for one, other in combinations(writing, 2)
        if one.home == other.home
        and spans[one.user][0] <= spans[other.user][1]
        and spans[other.user][0] <= spans[one.user][1]
    ]
