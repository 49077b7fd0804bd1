"""The annotations of the jobs at any time, and their owners, according to the journal. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from soak.contents import Content, Task, results, wanted
from soak.journal import Event, Key
from soak.schedule import Json, Schedule

PLACED = "placed"
"""The owner of annotations from before all runs."""


@dataclass
class Standing:
    """An annotation in a job.

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
        jobs: The annotations of each job.
        wanted: The contents that detecting runs want in each job, with the frames they cover.
        versions: Contents that a run may convert and that ever existed, by job: how often they were left to the
            runs, not deleted or changed by the human.
        missed: Contents of runs that the human has deleted or changed, with the times, by job.
        inserted: Number of annotations that each actor has added.
        own_deleted: Number of its own annotations that each has deleted.
        others_deleted: Number of annotations of others that each has deleted.
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
        """The number of each content in a job, without annotations that the human has touched."""
        return Counter(each.content for each in self.jobs[job_id].values() if each.touched == -inf)

    def lacking(self, job_id: int, frames: Iterable[int], since: float = -inf) -> Counter[Content]:
        """The wanted annotations missing on frames of a job, except those deleted by the human since."""
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
        # annotations corrected by the human remain
        at = inf if event.action == "correct" else event.at
        self.missed[event.job][old.content] = max(at, self.missed[event.job].get(old.content, -inf))
        if old.content in self.versions[event.job] and not any(
            each.content == old.content for each in self.jobs[event.job].values()
        ):
            self.versions[event.job][old.content] = (old.item, False)
