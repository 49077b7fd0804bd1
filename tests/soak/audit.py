"""Checks each deletion of a run against the journal of the server. Pure.

A run may delete

- its own annotations, unless a human has corrected them;
- automatic annotations that exist more than once: an equal one stays;
- annotations that its options replace: they existed before the first write of the run, no human has touched them
  since, and their replacements exist now;
- annotations of the run that it undoes.

A run cannot know what a human does between its last reading of a job and the arrival of its request. A deletion of
an annotation touched within that time is counted, but is not an error.
"""

from __future__ import annotations

import json
from math import inf

from soak.journal import Event
from soak.ledger import Ledger, Standing
from soak.schedule import Schedule


class Audit:
    """Looks at the events one after the other.

    Args:
        schedule: What was tried.
        ledger: The annotations before the first event.
        undoes: By the user of a run that undoes others, the users of these.

    Attributes:
        problems: What was wrong.
        unknowable: Number of deletions of annotations that a human touched after the run's last reading.
    """

    def __init__(self, schedule: Schedule, ledger: Ledger, undoes: dict[str, list[str]]) -> None:
        self.problems: list[str] = []
        self.unknowable = 0
        self._schedule = schedule
        self._ledger = ledger
        self._undoes = undoes
        self._reads: dict[tuple[str, int], list[float]] = {}
        self._first_write: dict[str, float] = {}
        self._births: dict[tuple[int, str, int], float] = {}

    def take(self, event: Event) -> None:
        """Look at the next event."""
        if event.action == "read":
            self._reads.setdefault((event.actor, event.job), []).append(event.at)
            return
        is_run = event.actor != self._ledger.human
        if is_run:
            self._first_write.setdefault(event.actor, event.arrived)
            job = next(job for job in self._ledger.task.jobs if job.id == event.job)
            if job.type != "annotation":
                self.problems.append(f"{event.actor} wrote to the {job.type} job {job.id}")
        gone: list[Standing] = []
        if event.action == "delete" and is_run:
            gone = [self._ledger.jobs[event.job][kind, item["id"]] for kind, item in event.items]
        births = {id(each): self._born(event.job, each) for each in gone}
        self._ledger.take(event)
        if event.action == "insert":
            for kind, item in event.items:
                self._births[event.job, kind, item["id"]] = event.at
        for each in gone:
            if each.touched > self._last_look(event):
                self.unknowable += 1
                self._ledger.excuse(event.job, each)
            elif why := self._why_not(event, each, births[id(each)]):
                text = json.dumps(each.item)
                self.problems.append(
                    f"{event.actor} deleted from job {event.job}: {why}: {text}, of {each.by}"
                )

    def _born(self, job_id: int, each: Standing) -> float:
        return self._births.get((job_id, each.kind, each.item["id"]), -inf)

    def _last_look(self, event: Event) -> float:
        """When the run last looked at the job before it sent this request."""
        looks = [at for at in self._reads.get((event.actor, event.job), ()) if at <= event.arrived]
        return (looks[-1] if looks else -inf) - self._schedule.lag

    def _why_not(self, event: Event, each: Standing, born: float) -> str:
        """Why a run must not delete something; nothing if it may."""
        began = self._first_write[event.actor]
        if each.touched >= began:
            return "a human drew or corrected it while the run went on"
        if each.by == event.actor:
            return ""
        if each.by in self._undoes.get(event.actor, ()):
            return "" if each.touched == -inf else "a human has corrected it"
        if self._is_doubled(event.job, each):
            return ""
        if made := self._ledger.results(event.job, each):
            # the human has deleted it since
            lacking = [
                content
                for job_id, content in made
                if not self._ledger.contents(job_id)[content] and content not in self._ledger.missed[job_id]
            ]
            return "what takes its place does not stand there" if lacking else ""
        frames = self._ledger.task.frames_of(event.job, each.kind, each.item)
        if not self._is_replaced(event.job, each, frames):
            return "nothing says that it is to go"
        if born >= began:
            return "it came while the run went on"
        if lacking := self._ledger.lacking(event.job, frames, began):
            return f"what takes its place does not all stand there ({lacking})"
        return ""

    def _is_doubled(self, job_id: int, each: Standing) -> bool:
        if each.touched != -inf or each.item["source"] not in ("auto", "semi-auto"):
            return False
        most = self._ledger.counts[job_id][each.content] or (1 if self._is_result(job_id, each) else 0)
        return most > 0 and self._ledger.contents(job_id)[each.content] >= most

    def _is_result(self, job_id: int, each: Standing) -> bool:
        return each.by != "placed" and self._schedule.kind in ("follow", "refine")

    def _is_replaced(self, job_id: int, each: Standing, frames: set[int]) -> bool:
        """Whether the runs of this schedule replace it."""
        if not frames <= self._ledger.task.annotated[job_id]:
            return False
        match self._schedule.existing:
            case "clear":
                return True
            case "replace_auto":
                return bool(each.item["source"] == "auto")
        return False


def problems_of_the_end(schedule: Schedule, ledger: Ledger, *, is_undone: bool) -> list[str]:
    """Errors in the annotations after all runs have ended, the last one successfully."""
    problems = []
    for job in ledger.task.jobs:
        least, most = _machines(schedule, ledger, job.id, is_undone=is_undone)
        found: dict[object, int] = {}
        for (kind, number), each in ledger.jobs[job.id].items():
            if each.content in most and each.touched == -inf and each.item["source"] in ("auto", "semi-auto"):
                found[each.content] = found.get(each.content, 0) + 1
            elif each.by != "placed" and each.touched == -inf:
                problems.append(f"job {job.id}: {kind} {number} should not be there: {each.content}")
            elif _should_have_gone(schedule, ledger, job.id, each):
                problems.append(f"job {job.id}: {kind} {number} should have gone: {each.content}")
        for content, count in most.items():
            if found.get(content, 0) > count:
                problems.append(f"job {job.id}: {found[content]} instead of {count}: {content}")
        for content, count in least.items():
            if found.get(content, 0) < count:
                problems.append(f"job {job.id}: {found.get(content, 0)} instead of {count}: {content}")
    return problems


def _machines(
    schedule: Schedule, ledger: Ledger, job_id: int, *, is_undone: bool
) -> tuple[dict[object, int], dict[object, int]]:
    """The minimum and maximum number of each content of runs in a job."""
    if is_undone:
        return {}, {}
    least: dict[object, int] = dict(ledger.counts[job_id])
    most = dict(least)
    for other in ledger.task.jobs:
        for content, (item, is_left) in ledger.versions[other.id].items():
            del content
            for at, result in ledger.results(other.id, Standing("shapes", item, "", None)):
                if at == job_id:
                    most[result] = 1
                    if is_left and result not in ledger.missed[job_id]:
                        least[result] = 1
    return least, most


def _should_have_gone(schedule: Schedule, ledger: Ledger, job_id: int, each: Standing) -> bool:
    if ledger.results(job_id, each):
        return True
    if not ledger.task.frames_of(job_id, each.kind, each.item) <= ledger.task.annotated[job_id]:
        return False
    return schedule.existing == "clear" or (
        schedule.existing == "replace_auto" and each.item["source"] == "auto"
    )
