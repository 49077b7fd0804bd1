"""The command line of the hostile inputs, and playing many of them."""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from changing_proxy import changing_proxy
from hostile import followed, prompted
from hostile.attacker import Attacker
from hostile.chunks import hostile_chunks
from hostile.headers import hostile_headers
from hostile.hostile_input import HostileInput
from hostile.json_answers import hostile_json
from hostile.names import hostile_names
from hostile.outputs import OUTPUTS
from hostile.play import Outcome, Stage
from hostile.tasks import large_tasks
from hostile.videos import hostile_videos
from prefect_cvat import Client
from prefect_cvat.sandbox import Sandbox

OTHER_COMMANDS = {"export": 4, "track": 7, "follow": 9, "refine": 8, "undo": 5, "evaluate": 6, "preview": 10}
"""The commands but `annotate`, and the how manieth of the answers each is played on."""

PROBLEMS = ("crashed", "traceback", "half-written", "memory", "hung", "unreadable")


def all_inputs() -> list[HostileInput]:
    """All hostile inputs, kind by kind."""
    outputs = [
        HostileInput(f"{what}: {name.replace('_', ' ')}", "output", output=name, command=command)
        for what, command, names in (
            ("a function", "annotate", OUTPUTS),
            ("an interaction function", "refine", prompted.RESULTS),
            ("a tracking function", "follow", followed.RESULTS),
        )
        for name in names
        if name != "one_box"
    ]
    answers = [*hostile_chunks(), *hostile_videos(), *hostile_json(), *hostile_headers(), *hostile_names()]
    others = [
        replace(each, name=f"{each.name} ({command})", command=command)
        for command, step in OTHER_COMMANDS.items()
        for each in [each for each in answers if _is_met(each, command)][::step]
    ]
    return [*answers, *others, *outputs, *large_tasks()]


def _is_met(hostile: HostileInput, command: str) -> bool:
    """Whether a command requests the attacked resource."""
    if "PATCH" in hostile.route:
        return command not in ("export", "evaluate", "preview")
    return command != "undo" or hostile.kind not in ("chunk", "video")


def play_all(inputs: Iterable[HostileInput], workers: int = 3) -> Iterator[Outcome]:
    """Play inputs, `workers` at a time, each worker with servers of its own."""
    local = threading.local()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="hostile-"))
        os.environ.setdefault("PREFECT_CVAT_RUNS_DIR", f"{folder}/runs")
        os.environ.setdefault("PREFECT_CVAT_CACHE_DIR", f"{folder}/cache")

        def play(hostile: HostileInput) -> Outcome:
            if not hasattr(local, "stage"):
                sandbox = stack.enter_context(Sandbox())
                attacker = Attacker()
                url = stack.enter_context(changing_proxy(sandbox.url, attacker.change))
                client = stack.enter_context(Client(url))  # undo must run against the server of the run
                client.login((sandbox.user, sandbox.password))
                local.stage = Stage(sandbox, url, attacker, client)
            return local.stage.play(hostile)

        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(play, inputs)


def play_kind(kind: str, every: int) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """Play every n-th input of a kind.

    Returns:
        The inputs with problems, by name, and the names of inputs that attacked nothing.
    """
    inputs = [each for each in all_inputs() if each.kind == kind][::every]
    outcomes = list(play_all(inputs))
    return (
        [(outcome.input.name, outcome.problems) for outcome in outcomes if outcome.problems],
        [outcome.input.name for outcome in outcomes if outcome.input.route and not outcome.attacked],
    )


def summary(outcomes: list[Outcome]) -> list[str]:
    """A table in Markdown: the inputs of each kind, how they ended, and what should not have been."""
    lines = [
        "| input | played | completed | refused | " + " | ".join(PROBLEMS) + " |",
        "|---" * (4 + len(PROBLEMS)) + "|",
    ]
    for kind in [*dict.fromkeys(outcome.input.kind for outcome in outcomes), "all"]:
        of_kind = [outcome for outcome in outcomes if kind in (outcome.input.kind, "all")]
        ended = Counter("completed" if outcome.exit_code == 0 else "refused" for outcome in of_kind)
        problems = Counter(problem for outcome in of_kind for problem in outcome.problems)
        counts = [len(of_kind), ended["completed"], ended["refused"], *(problems[each] for each in PROBLEMS)]
        lines.append(f"| {kind} | " + " | ".join(map(str, counts)) + " |")
    return lines


def main() -> int:
    """Play the inputs selected by the arguments; return 1 on problems."""
    parser = argparse.ArgumentParser(description="Annotate tasks under hostile inputs.")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--only", default="", help="those with this in their name or kind")
    parser.add_argument("--show", action="store_true", help="show what was printed, too")
    options = parser.parse_args()
    inputs = [each for each in all_inputs() if options.only in f"{each.kind}: {each.name}"]
    outcomes = []
    for outcome in play_all(inputs, options.workers):
        outcomes.append(outcome)
        for problem, text in outcome.problems.items():
            print(f"{outcome.input.kind}: {outcome.input.name}: {problem}: {text}", flush=True)
        if options.show:
            shown = outcome.text[-1500:].encode("ascii", "backslashreplace").decode()
            print(
                f"--- {outcome.input.kind}: {outcome.input.name}: exit {outcome.exit_code},"
                f" {outcome.seconds:.1f} s, {outcome.memory_mb:.0f} MB, {outcome.attacked} attacked\n{shown}",
                flush=True,
            )
    print("\n".join(summary(outcomes)))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    largest = max(outcomes, key=lambda outcome: outcome.memory_mb)
    print(f"most memory: {largest.memory_mb:.0f} MB ({largest.input.name}); longest: {slowest.seconds:.0f} s")
    return int(any(outcome.problems for outcome in outcomes))
