"""Plays a schedule on a sandbox, and compares the outcome with the oracle."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from prefect_cvat.sandbox import Sandbox
from soak.audit import Audit, problems_of_the_end
from soak.contents import JobFrames, Task
from soak.ledger import Ledger
from soak.reports import RunOf, problems_of_homes, problems_of_reports
from soak.runs import Ended, Told, run
from soak.scene import Scene
from soak.schedule import SPELLINGS, Runner, schedule

MOST_RUNS_WITH_FAULTS = 7
MOST_RUNS = 12
MOST_LAST_RUNS = 3
LONGEST_WAIT_FOR_LOCK = 30.0


@dataclass
class Outcome:
    """The outcome of a schedule.

    Attributes:
        problems: The problems found; empty if there are none.
        failures: Number of failed runs, by the class of the error.
        task_writes: Number of writes to the whole task that the server received while there were faults.
        job_writes: Number of writes to one job.
        unknowable: Number of deletions of annotations that a human touched after the run's last reading, which no
            protocol of CVAT can prevent.
    """

    key: str
    problems: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    deeds: int = 0
    unknowable: int = 0
    seconds: float = 0.0
    task_writes: int = 0
    job_writes: int = 0


class Play:
    """One schedule on one sandbox."""

    def __init__(self, key: str, server: Sandbox, *, mutation: str = "") -> None:
        self.schedule = schedule(key)
        self.server = server
        self.mutation = mutation
        self.outcome = Outcome(key)
        self.scene = Scene(self.schedule, server)
        self._folder = Path(tempfile.mkdtemp(prefix="soak-"))
        self._undoes: dict[str, list[str]] = {}
        self._runs: list[RunOf] = []
        self._lock = threading.Lock()

    def play(self) -> Outcome:
        """Play it to its end."""
        started = time.monotonic()
        self.server.faults.set([])
        try:
            self.scene.make()
            self._act()
            self._judge()
        except Exception:
            self.outcome.problems.append(traceback.format_exc())
        finally:
            self.server.faults.clear()
            self.server.faults.wait(30)
            self.scene.journal.close()
            shutil.rmtree(self._folder, ignore_errors=True)
        self.outcome.seconds = time.monotonic() - started
        return self.outcome

    # --- what happens ---

    def _act(self) -> None:
        plan = self.schedule
        # A latency of nothing on each write lets faults.wait() know of it.
        probe = {"methods": ["PATCH"], "path": "/annotations$", "fault": {"kind": "latency", "seconds": 0}}
        self.server.faults.set([*plan.rules, probe], seed=random.Random(plan.key).randint(0, 10**6))
        with ThreadPoolExecutor(3) as pool:
            human: Future[None] | None = None
            if plan.human:
                human = pool.submit(self.scene.work, self._is_anything_written)
            acting = [pool.submit(self._work, runner) for runner in plan.runners]
            for each in (*acting, *([human] if human else [])):
                each.result()
        self.outcome.deeds = len(plan.human)
        self._quiet_down()
        if plan.last:
            home = "three" if plan.last == "third" else plan.runners[0].home
            is_of_second = plan.kind == "undo" and len(plan.runners) > 1
            if plan.kind != "undo" or is_of_second:
                self._work_last(Runner("last", home, SPELLINGS[-1] if plan.last == "third" else SPELLINGS[0]))
            self._quiet_down()

    def _quiet_down(self) -> None:
        """Faults have ended, and delayed commits have happened."""
        if self.server.faults.active:
            probe = len(self.schedule.rules)
            for entry in self.server.faults.log():
                if entry.method == "PATCH" and entry.rule == probe:
                    is_of_task = entry.path.startswith("/api/tasks/")
                    self.outcome.task_writes += is_of_task
                    self.outcome.job_writes += not is_of_task
                if entry.rule != probe:
                    self.outcome.faults[f"{entry.fault} {entry.when}"] += 1
        self.server.faults.clear()
        self.server.faults.wait(30)

    def _writes(self) -> int:
        """The number of writes that the server has received, whether executed yet or not."""
        return sum(entry.method == "PATCH" for entry in self.server.faults.log())

    def _is_anything_written(self) -> bool:
        human = self.scene.human
        return any(e.actor != human and e.action != "read" for e in list(self.scene.journal.events))

    def _work(self, runner: Runner) -> None:
        """Start runs until one succeeds, as a user of this machine would."""
        time.sleep(runner.delay)
        deadline = time.monotonic() + LONGEST_WAIT_FOR_LOCK
        number = 0
        while number < min(runner.most_runs, MOST_RUNS):
            number += 1
            if number > MOST_RUNS_WITH_FAULTS and self.server.faults.active:
                self._quiet_down()
            ended = self._run(runner, number)
            if ended.state == "done":
                break
            if ended.state == "crashed":
                return
            if ended.error == "RunInProgressError" and time.monotonic() < deadline:
                number -= 1
                time.sleep(0.1)
        else:
            if runner.most_runs > MOST_RUNS:
                self.outcome.problems.append(f"it never succeeds: {ended.error} {ended.text}")
        if self.schedule.kind == "undo" and runner.name == "a":
            self._undo(runner)

    def _work_last(self, runner: Runner) -> None:
        for number in range(1, MOST_LAST_RUNS + 1):
            ended = self._run(runner, number)
            if ended.state in ("done", "crashed"):
                return
        self.outcome.problems.append(f"undisturbed, it does not succeed: {ended.error} {ended.text}")

    def _undo(self, runner: Runner) -> None:
        """Undo everything that the runs of a machine have added."""
        runs = self._home(runner) / "runs"
        names = sorted(path.name for path in runs.iterdir()) if runs.is_dir() else []
        for name in names:
            for number in range(1, MOST_RUNS + 1):
                if number > 4 and self.server.faults.active:
                    self._quiet_down()
                ended = self._run(Runner(f"undo-{name[:8]}", runner.home, runner.spelling), number, undo=name)
                if ended.state in ("done", "crashed") or ended.error == "RunNotFoundError":
                    break  # a run that was killed before it sent anything has no record
            else:
                self.outcome.problems.append(f"undoing never succeeds: {ended.error} {ended.text}")

    def _home(self, runner: Runner) -> Path:
        return self._folder / runner.home

    def _run(self, runner: Runner, number: int, *, undo: str = "") -> Ended:
        plan, scene = self.schedule, self.scene
        kill = runner.kills[number - 1] if number <= len(runner.kills) else None
        is_bad = runner.is_bad_at_first and number == 1 and plan.layout != "gt_pool"
        with self._lock:
            user = scene.new_user(f"{runner.name}-{number}-{len(self._runs)}")
            this = RunOf(user, runner.home, is_undo=bool(undo), is_bad=is_bad)
            this.begins(len(scene.journal.events), self.server.faults.pending)
            self._runs.append(this)
            if undo:
                ones = [each.user for each in self._runs if each.home == runner.home and not each.is_undo]
                self._undoes[user] = ones
        told = Told(
            kind=plan.kind,
            url=runner.spelling.format(port=self.server.url.rpartition(":")[2]),
            user=user,
            password=self.server.password,
            home=str(self._home(runner)),
            task=scene.task_id,
            key=plan.key,
            names=tuple(scene.names),
            frames=plan.frames,
            existing=plan.existing,
            selected=plan.selected and tuple(n for n in plan.selected if n < len(scene.names)),
            direction=plan.direction,
            frames_per_batch=plan.frames_per_batch,
            fails_on=int(scene.names[-1][:2]) if is_bad else None,
            seconds=plan.seconds_per_frame,
            attempts=plan.attempts_of_a_write,
            stages_are_retried=plan.stages_are_retried,
            is_sent_at_once=plan.is_sent_at_once,
            undo=undo,
            mutation=self.mutation,
        )
        before = self._writes()
        ended = run(told, kill, lambda: self._writes() - before)
        if ended.error == "BadFunctionError":
            self.server.faults.wait(30)
        this.ends(len(scene.journal.events), ended)
        with self._lock:
            outcome = self.outcome
            outcome.runs += 1
            outcome.kills += ended.state == "killed"
            if ended.state == "crashed":
                outcome.problems.append(f"{user}: {ended.text}")
            elif ended.state != "done":
                outcome.failures[ended.error] += 1
        return ended

    # --- the outcome ---

    def _judge(self) -> None:
        scene, plan = self.scene, self.schedule
        task = Task(
            names=tuple(scene.names),
            jobs=tuple(JobFrames(job.id, job.type, job.start_frame, job.stop_frame) for job in scene.jobs),
            annotated=scene.annotated,
            deleted=frozenset(plan.deleted),
            labels={number: name for name, number in scene.label_ids.items()},
            specs={number: name for name, number in scene.spec_ids.items()},
        )
        ledger = Ledger(plan, task, scene.human, scene.before)
        audit = Audit(plan, ledger, self._undoes)
        problems = self.outcome.problems
        waiting = sorted(self._runs, key=lambda each: each.last)
        for number, event in enumerate(scene.journal.events):
            while waiting and waiting[0].last <= number:
                problems += problems_of_reports(plan, ledger, waiting.pop(0), self._runs)
            audit.take(event)
        for each in waiting:
            problems += problems_of_reports(plan, ledger, each, self._runs)
        problems += audit.problems + problems_of_homes(self._runs, scene.journal.events)
        self.outcome.unknowable = audit.unknowable
        there = scene.read()
        if any(there[job].keys() != ledger.jobs[job].keys() for job in there):
            problems.append("the journal of the soak is not what the server did")
        is_undone = plan.kind == "undo" and len(plan.runners) == 1
        problems += problems_of_the_end(plan, ledger, is_undone=is_undone)
