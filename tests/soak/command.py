"""The command line of the soak, and playing many schedules."""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from prefect_cvat.sandbox import Sandbox
from soak.mutations import MUTATIONS
from soak.play import Outcome, Play
from soak.schedule import TASK_WAY, schedule


def soak(
    keys: Iterable[str], *, workers: int = 2, minutes: float | None = None, mutation: str = ""
) -> Iterator[Outcome]:
    """Play schedules, `workers` at a time, each worker with a sandbox of its own."""
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    local = threading.local()
    servers: list[Sandbox] = []

    def play(key: str) -> Outcome | None:
        if deadline is not None and time.monotonic() > deadline:
            return None
        if not hasattr(local, "server"):
            local.server = Sandbox()
            local.server.start()
            servers.append(local.server)
        return Play(key, local.server, mutation=mutation).play()

    try:
        with ThreadPoolExecutor(workers) as pool:
            for future in as_completed([pool.submit(play, key) for key in keys]):
                outcome = future.result()
                if outcome is not None:
                    yield outcome
    finally:
        for server in servers:
            server.stop()


def keys_of(seed: int, numbers: Iterable[int], way: str = "") -> list[str]:
    return [f"{seed}/{number}{way}" for number in numbers]


def summary(outcomes: list[Outcome]) -> Mapping[str, Any]:
    kinds = Counter(schedule(outcome.key).kind for outcome in outcomes)
    return {
        "schedules": len(outcomes),
        "of kinds": dict(kinds.most_common()),
        "with a problem": sum(bool(outcome.problems) for outcome in outcomes),
        "runs": sum(outcome.runs for outcome in outcomes),
        "killed": sum(outcome.kills for outcome in outcomes),
        "runs that did not succeed": dict(sum((o.failures for o in outcomes), Counter[str]()).most_common()),
        "writes to tasks": sum(outcome.task_writes for outcome in outcomes),
        "writes to jobs": sum(outcome.job_writes for outcome in outcomes),
        "deeds of humans": sum(outcome.deeds for outcome in outcomes),
        "of these hit unknowably": sum(outcome.unknowable for outcome in outcomes),
        "faults": dict(sum((outcome.faults for outcome in outcomes), Counter[str]()).most_common()),
    }


def main() -> int:
    """Play the schedules selected by the arguments; return 1 on problems."""
    parser = argparse.ArgumentParser(description="Try to make runs lose, double or harm annotations.")
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="begin no further schedule after these")
    parser.add_argument("--workers", type=int, default=6, help="most of them only wait")
    parser.add_argument("--only", type=int, help="play the schedule of this number alone, and show it")
    parser.add_argument(
        "--whole-tasks", action="store_true", help="jobs do not overlap: several are written in one request"
    )
    parser.add_argument(
        "--break", dest="mutation", choices=list(MUTATIONS), default="", help="break the upload"
    )
    parser.add_argument("--mutations", action="store_true", help="see that each mutation is noticed")
    options = parser.parse_args()
    if options.mutations:
        return _show_mutations(options.workers)
    way = TASK_WAY if options.whole_tasks else ""
    numbers = range(options.schedules) if options.only is None else [options.only]
    if options.only is not None:
        print(schedule(f"{options.seed}/{options.only}{way}"))
    started = time.monotonic()
    outcomes = []
    for outcome in soak(
        keys_of(options.seed, numbers, way),
        workers=options.workers,
        minutes=options.minutes,
        mutation=options.mutation,
    ):
        outcomes.append(outcome)
        if outcome.problems:
            _show(outcome, options.mutation)
    for what, value in summary(outcomes).items():
        print(f"{what}: {value}")
    print(f"{time.monotonic() - started:.0f} s")
    return any(outcome.problems for outcome in outcomes)


def _show(outcome: Outcome, mutation: str) -> None:
    seed, number = outcome.key.removesuffix(TASK_WAY).split("/")
    whole = " --whole-tasks" if outcome.key.endswith(TASK_WAY) else ""
    kind = schedule(outcome.key).kind
    print(
        f"FAILED {outcome.key} {kind} ({outcome.runs} runs, {outcome.kills} kills, {dict(outcome.failures)})"
    )
    for problem in outcome.problems[:6]:
        print(f"    {problem}")
    broken = f" --break {mutation}" if mutation else ""
    print(f"    again: python tests/soak/soak.py --seed {seed} --only {number}{whole}{broken}", flush=True)


def _show_mutations(workers: int) -> int:
    """Play each mutation with the schedules that notice it."""
    is_blind = False
    keys = sorted({key for mutation in MUTATIONS.values() for key in mutation.noticed_by})
    flawed = set()
    for outcome in soak(keys, workers=workers):
        if outcome.problems:
            _show(outcome, "")
            flawed.add(outcome.key)
    if flawed:
        print(
            f"these find fault with what is whole, and so tell nothing: {' '.join(sorted(flawed))}",
            flush=True,
        )
    for name, mutation in MUTATIONS.items():
        if not name:
            continue
        telling = [key for key in mutation.noticed_by if key not in flawed]
        outcomes = list(soak(telling, workers=workers, mutation=name))
        seen = {outcome.key: outcome.problems[0] for outcome in outcomes if outcome.problems}
        is_blind |= not seen
        keys = " ".join(seen) or "NOBODY"
        print(f"{name:32} noticed by {keys}: {next(iter(seen.values()), '')[:110]}", flush=True)
    return is_blind
