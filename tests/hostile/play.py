"""Plays a hostile input: the command line in its own process, and the outcome."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hostile.attacker import Attacker
from hostile.commands import COMMANDS, Scene, make_scene
from hostile.hostile_input import HostileInput
from prefect_cvat import Client
from prefect_cvat.sandbox import Sandbox

LONGEST_RUN = 60.0
GIVE_UP_AFTER = 4.0
SLOWEST = 3.0
MOST_MEMORY_MB = 300
MOST_ADDRESS_SPACE = 2 * 2**30
LONGEST_LINE = 1_200
DATASET = "dataset"
READING = ("export", "evaluate", "preview")

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "prefect_cvat.cli.app",
        "prefect_cvat.cli.run_output",
        "prefect_cvat.http.transport",
        "PIL.PngImagePlugin",
    ]
)


@dataclass
class Outcome:
    """The outcome of a hostile input.

    Attributes:
        exit_code: Of the command; negative for a signal, None if it did not end in time.
        text: What it printed.
        problems: What should not have been, by kind: `crashed`, `traceback`, `half-written`, `memory`, `hung`,
            `unreadable`.
        memory_mb: The most memory that the process had.
        seconds: How long it took.
    """

    input: HostileInput
    exit_code: int | None = None
    text: str = ""
    problems: dict[str, str] = field(default_factory=dict)
    memory_mb: float = 0.0
    seconds: float = 0.0
    attacked: int = 0


class Stage:
    """A sandbox, the address of the proxy that attacks its answers, and a client that is not attacked."""

    def __init__(self, sandbox: Sandbox, url: str, attacker: Attacker, client: Client) -> None:
        self.sandbox = sandbox
        self.url = url
        self.attacker = attacker
        self.client = client

    def play(self, hostile: HostileInput) -> Outcome:
        """Run a command on a task under attack, then do the same once more without it."""
        outcome = Outcome(hostile)
        scene = make_scene(self.client, hostile.command, task=hostile.task)
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            self.attacker.play(hostile)
            try:
                self._run(outcome, scene, Path(folder))
            finally:
                outcome.attacked = self.attacker.attacked
                self.attacker.play(None)
            self._judge_process(outcome)
            if outcome.exit_code != 0 and any((Path(folder) / DATASET).glob("*")):
                outcome.problems["half-written"] = "there is a dataset of an export that failed"
            self._judge_annotations(outcome, scene)
        return outcome

    def _run(self, outcome: Outcome, scene: Scene, folder: Path) -> None:
        started = time.monotonic()
        command = COMMANDS[outcome.input.command]
        arguments = [
            *("--server-host", self.url, "--auth", f"{self.sandbox.user}:{self.sandbox.password}"),
            *command.arguments(scene, folder),
        ]
        if command.module is not None:
            file = command.module.__file__
            arguments += ["--function-file", file, "-p", f"output=str:{outcome.input.output}"]
        ours, theirs = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(
            target=_command, args=(arguments, str(folder), os.environ["PREFECT_CVAT_RUNS_DIR"], theirs)
        )
        process.start()
        theirs.close()
        process.join(LONGEST_RUN)
        if process.is_alive():
            process.kill()
            process.join()
            outcome.problems["hung"] = f"it was at work after {LONGEST_RUN:.0f} s"
        else:
            outcome.exit_code = process.exitcode
        with contextlib.suppress(EOFError):
            if ours.poll():
                outcome.memory_mb = ours.recv() / 1024
        ours.close()
        outcome.seconds = time.monotonic() - started
        outcome.text = (folder / "printed").read_bytes().decode("utf-8", "surrogateescape")

    def _judge_process(self, outcome: Outcome) -> None:
        if outcome.exit_code not in (0, 1, 2, None):
            outcome.problems["crashed"] = f"exit code {outcome.exit_code}"
        if "Traceback (most recent call last)" in outcome.text:
            outcome.problems["traceback"] = outcome.text[-600:]
        if outcome.memory_mb > MOST_MEMORY_MB:
            outcome.problems["memory"] = f"{outcome.memory_mb:.0f} MB"
        if outcome.exit_code in (1, 2) and "error: " not in outcome.text:
            outcome.problems["unreadable"] = f"it failed without saying why: {outcome.text[-300:]!r}"
        for line in outcome.text.split("\n"):
            if len(line) > LONGEST_LINE:
                outcome.problems["unreadable"] = f"a line of {len(line)} characters"
            elif not line.replace("\r", "").isprintable() and any(ord(c) < 32 or ord(c) == 127 for c in line):
                outcome.problems["unreadable"] = f"control characters: {line[:200]!r}"

    def _judge_annotations(self, outcome: Outcome, scene: Scene) -> None:
        left = self._annotations(scene)
        before = self._annotations_before(outcome.input)
        if outcome.input.kind == "output":
            if outcome.exit_code != 0 and left != before:
                outcome.problems["half-written"] = f"a function that failed has left {left}"
            if outcome.exit_code == 0 and left != before:
                return  # hostile only in form: it was accepted completely
        if outcome.input.command in READING and left != before:
            outcome.problems["half-written"] = f"what only reads has left {left}"
        try:
            COMMANDS[outcome.input.command].again(self.client, scene)
        except Exception as error:
            outcome.problems["half-written"] = f"the next run failed: {error}"[:600]
            return
        left, wanted = self._annotations(scene), self._annotations_after(outcome.input)
        if left != wanted:
            outcome.problems["half-written"] = f"after the next run there are {left}, not {wanted}"

    def _annotations(self, scene: Scene) -> dict[str, int]:
        """Counts of the annotations of a task: manual ones, or by source, kind and frame."""
        data = self.client.task_annotations(scene.task_id)
        found = Counter(
            "what a human had drawn"
            if shape["id"] == scene.human
            else f"{shape['source']} {shape['type']} on {shape['frame']}"
            for shape in data.shapes
        )
        found.update(f"{track['source']} track from {track['frame']}" for track in data.tracks)
        return dict(sorted(found.items()))

    def _annotations_before(self, hostile: HostileInput) -> dict[str, int]:
        return self._undisturbed(hostile.command, hostile.task)[0]

    def _annotations_after(self, hostile: HostileInput) -> dict[str, int]:
        return self._undisturbed(hostile.command, hostile.task)[1]

    @cache  # noqa: B019 (a stage lives as long as the process)
    def _undisturbed(self, command: str, task: str) -> tuple[dict[str, int], dict[str, int]]:
        """What is in a task before a command, and after it, when nothing is attacked."""
        scene = make_scene(self.client, command, task=task)
        before = self._annotations(scene)
        COMMANDS[command].again(self.client, scene)
        return before, self._annotations(scene)


def _command(arguments: list[str], folder: str, runs: str, pipe: Any) -> None:
    """The command line, with its output in a file."""
    os.environ.update(
        PREFECT_CVAT_CACHE_DIR=f"{folder}/cache",
        PREFECT_CVAT_RUNS_DIR=runs,
        PREFECT_CVAT_LATE_COMMIT_SECONDS="0.5",
        PREFECT_CVAT_STALE_READ_SECONDS="0.2",
        TMPDIR=folder,
    )
    # an attack that works must not take the machine along
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESS_SPACE, MOST_ADDRESS_SPACE))
    printed = os.open(f"{folder}/printed", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    sys.argv = ["prefect-cvat", *arguments]
    from prefect_cvat.cli.main import main
    from prefect_cvat.cvat import client
    from prefect_cvat.http import retry_policy
    from prefect_cvat.http import slow_responses as paced_connections

    # what waits for minutes with a user waits for seconds here
    paced_connections.WINDOW_SECONDS = SLOWEST
    client.Client.__init__.__kwdefaults__["timeout"] = (SLOWEST, SLOWEST)
    retry_policy.RetryPolicy.__init__.__kwdefaults__["give_up_after"] = GIVE_UP_AFTER
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 70
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    os._exit(code)
