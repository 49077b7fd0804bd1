"""A schedule: everything that its seed decides. Pure; it uses neither server nor upload.

It excludes what no protocol of CVAT can resolve without communication between the machines: a run relies on
annotations of a run on another machine, which then fails by its own fault and removes them. So with two machines
and a bad function on one, nothing is replaced, no write has an unknown outcome, and every existing annotation is
checked after a last good run.

A schedule has one or two runners. A runner models a machine: it has its own home (cache, locks, records) and its
own spelling of the address, and starts runs until one succeeds. A human may draw, correct and delete meanwhile.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any, Literal

Json = dict[str, Any]
RunKind = Literal["annotate", "track", "follow", "refine", "undo"]

TASK_WAY = "@task"

READ_TIMEOUT = 0.4
LONGEST_DELAY = 0.6
"""Seconds until a commit after its client has given up; models the 60 s of a real server."""
LATE_COMMIT_SECONDS = 1.5
"""The setting of the runs for it, with a margin: many schedules share few cores."""
STALE_SECONDS = 0.3
"""Maximum lag of reads in seconds."""
STALE_READ_SECONDS = 0.8
"""The setting of the runs for it, in seconds."""

SPELLINGS = (
    "http://127.0.0.1:{port}",
    "http://localhost:{port}",
    "http://127.0.0.1:{port}/",
    "LOCALHOST:{port}/api/",
)
"""Ways to write the address of one server."""


@dataclass(frozen=True)
class Kill:
    """When to kill a process: `seconds` after a number of writes, or after its start."""

    after: Literal["writes", "seconds"]
    writes: int
    seconds: float


@dataclass(frozen=True)
class Runner:
    """Starts runs on the task.

    Attributes:
        name: Distinguishes it from the other one.
        home: The folder of its cache and records.
        spelling: Its spelling of the address of the server.
        delay: Seconds until it begins.
        kills: When its first runs are killed; None for never.
        is_bad_at_first: Whether the function of its first run breaks its contract on the last frame.
        most_runs: Maximum number of runs, with or without success.
    """

    name: str
    home: str
    spelling: str
    delay: float = 0.0
    kills: tuple[Kill | None, ...] = ()
    is_bad_at_first: bool = False
    most_runs: int = 99


@dataclass(frozen=True)
class Deed:
    """An action of the human.

    Attributes:
        pause: Seconds since the previous action.
        what: `draw`, `correct` or `delete`.
        seed: Determines the place, and the annotation among those that exist then.
    """

    pause: float
    what: Literal["draw", "correct", "delete"]
    seed: int


@dataclass(frozen=True)
class Schedule:
    """One scenario.

    Attributes:
        key: Its seed.
        kind: The kind of run. `undo` annotates, and then undoes that.
        layout: The layout of the task: `plain`, with a ground-truth job (`gt`), with a pool of ground-truth frames
            (`gt_pool`), or with two replicas of each job (`consensus`).
        selected: The selected frames; None for all.
        last: Which runner makes a last run, after all others and all faults have ended: one with a third home if
            `third`.
        is_sent_at_once: Whether annotations are sent without waiting for a full request.
    """

    key: str
    kind: RunKind
    layout: str
    frames: int
    chunk_size: int
    segment_size: int
    overlap: int
    deleted: tuple[int, ...]
    existing: str
    selected: tuple[int, ...] | None
    direction: str
    frames_per_batch: int | None
    rules: tuple[Json, ...]
    attempts_of_a_write: int
    seconds_per_frame: float
    stages_are_retried: bool
    runners: tuple[Runner, ...]
    human: tuple[Deed, ...] = ()
    last: Literal["", "first", "third"] = ""
    deeds_from: Literal["start", "first write"] = "start"
    is_sent_at_once: bool = True

    @property
    def lag(self) -> float:
        """By how many seconds a read may lag."""
        return STALE_SECONDS if any(r["fault"]["kind"] == "stale_read" for r in self.rules) else 0.0


def schedule(key: str) -> Schedule:
    """The schedule of a key.

    A key that ends with `TASK_WAY` has the same schedule, but the jobs of its task do not overlap. So runs read
    all of them in one request, and write to several in one.
    """
    seed = key.removesuffix(TASK_WAY)
    drawn = _draw(seed)
    if seed == key:
        return drawn
    rng = random.Random(key)
    return replace(
        drawn,
        key=key,
        layout=drawn.layout if drawn.layout == "gt" else "plain",
        segment_size=rng.randint(1, max(1, drawn.frames // 2)),
        overlap=0,
        is_sent_at_once=rng.random() < 0.5,
    )


def _draw(key: str) -> Schedule:
    rng = random.Random(key)
    kind: RunKind = rng.choices(["annotate", "track", "follow", "refine", "undo"], [6, 2, 2, 2, 2])[0]
    layout = "plain"
    if kind == "annotate":
        layout = rng.choices(["plain", "gt", "gt_pool", "consensus"], [7, 1, 1, 1])[0]
    elif kind in ("track", "refine"):
        layout = rng.choices(["plain", "gt"], [5, 1])[0]
    frames = rng.randint(4, 14)
    segment_size = rng.choice([0, rng.randint(3, 6)]) if layout != "gt_pool" else rng.randint(3, 5)
    overlap = rng.choice([0, 1, 2]) if segment_size and layout == "plain" else 0
    is_annotate = kind == "annotate"
    existing = "keep"
    if kind in ("annotate", "track"):
        existing = rng.choice(["keep", "clear", "replace_auto"])
    runners = _runners(rng, kind, existing)
    human = _human(rng)
    is_beside = len({each.home for each in runners}) > 1
    takes_back = is_beside and (kind == "undo" or any(each.is_bad_at_first for each in runners))
    fails = not takes_back and rng.random() < 0.25
    rules = [_rule(rng, reads_only=takes_back, is_beside=is_beside) for _ in range(rng.randint(1, 4))]
    if fails:
        rules.insert(0, _failing_rule(rng))
    return Schedule(
        key=key,
        kind=kind,
        layout=layout,
        frames=frames,
        chunk_size=rng.randint(1, 5),
        segment_size=segment_size,
        overlap=overlap,
        deleted=tuple(sorted(rng.sample(range(frames), rng.choice([0, 0, 1, 2]))))
        if is_annotate and layout != "gt_pool"
        else (),
        existing=existing,
        selected=tuple(sorted(rng.sample(range(frames), rng.randint(1, frames))))
        if is_annotate and rng.random() < 0.25
        else None,
        direction=rng.choice(["forward", "forward", "backward", "both"]),
        frames_per_batch=rng.choice([None, 1, 3]),
        rules=tuple(rules),
        attempts_of_a_write=2 if fails else 8,
        seconds_per_frame=rng.choice([0, 0.01, 0.03]),
        stages_are_retried=rng.random() < 0.4,
        runners=runners,
        human=human,
        last="third" if rng.random() < 0.25 else "first" if human or len(runners) > 1 else "",
        deeds_from=rng.choice(["start", "first write"]),
    )


def _runners(rng: random.Random, kind: RunKind, existing: str) -> tuple[Runner, ...]:
    has_second = rng.random() < 0.35
    is_beside = has_second and (kind == "undo" or rng.random() < 0.8)
    may_be_bad = kind != "undo" and (existing == "keep" or not is_beside)
    dies = rng.random() < 0.45 and not (kind == "undo" and is_beside)
    first = Runner(
        "a",
        "one",
        SPELLINGS[0],
        kills=tuple(_kill(rng) for _ in range(rng.randint(1, 3))) if dies else (),
        is_bad_at_first=rng.random() < 0.15 and may_be_bad,
        most_runs=rng.randint(1, 2) if kind == "undo" else 99,
    )
    if not has_second:
        return (first,)
    second = Runner(
        "b",
        "two" if is_beside else "one",
        rng.choice(SPELLINGS[1:]),
        delay=rng.choice([0, 0, 0, 0.1, 0.3, 0.6]),
        kills=(_kill(rng),) if rng.random() < 0.25 and kind != "undo" else (),
        is_bad_at_first=rng.random() < 0.35 and may_be_bad,
        # a second run during an undo would rely on annotations being removed
        most_runs=min(rng.choice([1, 2]), 1 if kind == "undo" else 2),
    )
    return (first, second)


def _human(rng: random.Random) -> tuple[Deed, ...]:
    if rng.random() > 0.45:
        return ()
    deeds = [rng.choice(["draw", "correct", "correct", "delete"]) for _ in range(rng.randint(1, 6))]
    return tuple(Deed(rng.choice([0, 0.02, 0.05, 0.1, 0.3]), what, rng.randrange(10**6)) for what in deeds)


def _kill(rng: random.Random) -> Kill:
    if rng.random() < 0.8:
        return Kill("writes", rng.randint(1, 6), rng.choice([0, 0.002, 0.01, 0.03, 0.1, 0.3]))
    return Kill("seconds", 0, rng.uniform(0.05, 1.5))


def _failing_rule(rng: random.Random) -> Json:
    fault = rng.choice(
        [
            {"kind": "reset", "when": "after"},
            {"kind": "status", "status": 504, "when": "after"},
            {"kind": "late_commit", "answer": 504, "delay": round(rng.uniform(0.05, LONGEST_DELAY), 3)},
        ]
    )
    return {"methods": ["PATCH"], "path": "/annotations$", "times": 6, "probability": 0.9, "fault": fault}


_WRITES: Json = {"methods": ["PATCH"], "path": "/annotations$"}
_READS: Json = {"methods": ["GET"], "path": "/annotations$"}


def _rule(rng: random.Random, *, reads_only: bool, is_beside: bool) -> Json:
    """A rule. If a run may remove its annotations during another run, no write has an unknown outcome.

    A run does not know the ids of a write of unknown outcome, and may claim equal newer annotations as its own. A
    broken image or answer also makes a run remove its annotations, so there are none with a second machine.
    """
    draw = rng.random()
    when = rng.choice(["before", "after"])
    if draw < 0.12:
        fault: Json = {"kind": "stale_read", "seconds": round(rng.uniform(0.05, STALE_SECONDS), 3)}
        rule = dict(rng.choice([_READS, {"methods": ["GET"]}]))
    elif draw < 0.24 and not reads_only:
        fault = {"kind": "store_part", "share": rng.choice([0, 0.25, 0.5, 0.75])}
        rule = {**_WRITES, "actions": ["create"]}
    else:
        places = [
            _WRITES,
            {**_WRITES, "actions": ["create"]},
            {**_WRITES, "actions": ["delete"]},
            _READS,
            {"methods": ["GET"], "path": "/data$"},
            {},
        ]
        rule = dict(rng.choices(places, [0, 0, 0, 4, 2, 0] if reads_only else [5, 6, 4, 3, 1, 2])[0])
        fault = rng.choice(
            [
                {"kind": "latency", "seconds": 0, "jitter": LONGEST_DELAY + READ_TIMEOUT, "when": when},
                {"kind": "bandwidth", "bytes_per_second": rng.choice([500, 5000])},
                {"kind": "throttle", "retry_after": rng.choice([0, 0, 1])},
                {"kind": "status", "status": rng.choice([500, 502, 503, 504]), "when": when},
                {"kind": "reset", "when": when},
                {"kind": "truncate"},
                {"kind": "corrupt"},
                {
                    "kind": "late_commit",
                    "answer": rng.choice([504, "reset"]),
                    "seconds": rng.choice([0, 0.1]),
                    "delay": round(rng.uniform(0.02, LONGEST_DELAY), 3),
                },
                {"kind": "expire_token"},
            ]
        )
    if is_beside and (
        fault["kind"] == "corrupt" or (fault["kind"] == "truncate" and rule.get("path") != "/annotations$")
    ):
        fault = {"kind": "reset", "when": "before" if reads_only else when}
    return rule | {
        "fault": fault,
        "probability": rng.choice([0.2, 0.5, 1]),
        "after": rng.choice([0, 0, 1, 3]),
        # each resent request may be stored partially
        "times": rng.randint(1, 4) * (2 if fault["kind"] == "store_part" else 1),
    }
