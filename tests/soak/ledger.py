"""What stands in the jobs at any moment, and whose it is, by the journal. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from soak.contents import Content, Task, results, wanted
from soak.journal import Event, Key
from soak.schedule import Json, Schedule

PLACED = "placed"
"""Who made what stood there before all runs."""


@dataclass
class Standing:
    """An annotation that stands in a job.

    Attributes:
        by: Who has made it.
        content: What it says.
        touched: When a human drew or corrected it last; minus infinity for never.
    """

    kind: str
    item: Json
    by: str
    content: Content
    touched: float = -inf


class Ledger:
    """Follows the events.

    Attributes:
        jobs: What stands in each job.
        wanted: How many of each content runs that detect want in each job, with the frames they speak for.
        versions: All that a run may turn into something else and that has ever stood there, by job: how often it
            was left to the runs, and not taken away or changed by the human.
        missed: By job, machines' contents of which the human has taken away or changed one, with the times.
        inserted: How many annotations each actor has made.
        own_deleted: How many of its own each has deleted again.
        others_deleted: How many of others.
    """

    def __init__(
        self, schedule: Schedule, task: Task, human: str, before: Mapping[int, Mapping[Key, Json]]
    ) -> None:
        self._schedule = schedule
        self.task = task
        self.human = human
        self.wanted = {job.id: list(wanted(schedule, task, job)) for job in task.jobs}
        self.counts = {
            job_id: Counter(content for _, content in each) for job_id, each in self.wanted.items()
        }
        self.versions: dict[int, dict[Content, tuple[Json, bool]]] = {job.id: {} for job in task.jobs}
        self.missed: dict[int, dict[Content, float]] = {job.id: {} for job in task.jobs}
        self.inserted: Counter[str] = Counter()
        self.own_deleted: Counter[str] = Counter()
        self.others_deleted: Counter[str] = Counter()
        self.jobs: dict[int, dict[Key, Standing]] = {job.id: {} for job in task.jobs}
        for job_id, items in before.items():
            for (kind, number), item in items.items():
                self._add(
                    job_id, (kind, number), Standing(kind, item, PLACED, task.content(job_id, kind, item))
                )

    def take(self, event: Event) -> None:
        """Take what happened next."""
        is_manual = event.actor == self.human
        for kind, item in event.items:
            key = (kind, item["id"])
            here = self.jobs[event.job]
            if event.action != "insert":
                old = here.pop(key)
                if is_manual:
                    self._taken_by_human(event, old)
                else:
                    (self.own_deleted if old.by == event.actor else self.others_deleted)[event.actor] += 1
            if event.action != "delete":
                content = self.task.content(event.job, kind, item)
                new = Standing(kind, item, event.actor, content, event.at if is_manual else -inf)
                self._add(event.job, key, new)
                self.inserted[event.actor] += 1

    def contents(self, job_id: int) -> Counter[Content]:
        """How many of each content stand in a job, of what no human has touched."""
        return Counter(each.content for each in self.jobs[job_id].values() if each.touched == -inf)

    def lacking(self, job_id: int, frames: Iterable[int], since: float = -inf) -> Counter[Content]:
        """What is wanted on frames of a job and does not stand there, but for what the human took since then."""
        asked = set(frames)
        wants = Counter(content for on, content in self.wanted[job_id] if on & asked)
        lacking = wants - self.contents(job_id)
        return Counter({c: n for c, n in lacking.items() if self.missed[job_id].get(c, -inf) < since})

    def excuse(self, job_id: int, standing: Standing) -> None:
        """Do not ask for what an annotation would have been turned into: it has gone, and no run could know it."""
        if standing.content in self.versions[job_id]:
            self.versions[job_id][standing.content] = (standing.item, False)

    def results(self, job_id: int, standing: Standing) -> list[tuple[int, Content]]:
        """What an annotation is turned into."""
        return results(self._schedule, self.task, job_id, standing.kind, standing.item)

    def _add(self, job_id: int, key: Key, standing: Standing) -> None:
        self.jobs[job_id][key] = standing
        if self.results(job_id, standing):
            self.versions[job_id][standing.content] = (standing.item, True)

    def _taken_by_human(self, event: Event, old: Standing) -> None:
        # what a human has corrected is there, as it should be
        at = inf if event.action == "correct" else event.at
        self.missed[event.job][old.content] = max(at, self.missed[event.job].get(old.content, -inf))
        if old.content in self.versions[event.job] and not any(
            each.content == old.content for each in self.jobs[event.job].values()
        ):
            self.versions[event.job][old.content] = (old.item, False)
