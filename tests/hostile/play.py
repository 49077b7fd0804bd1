"""Playing a hostile input: the command line in a process of its own, and what came of it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hostile.hostile_input import HostileInput
from hostile.outputs import create
from hostile.server import HostileServer
from pictures import picture
from prefect_cvat import Client, annotate_task
from prefect_cvat.auto_annotation import label_spec
from prefect_cvat.sandbox import Sandbox

FRAMES = 6
LONGEST_RUN = 60.0
GIVE_UP_AFTER = 4.0
SLOWEST = 3.0
MOST_MEMORY_MB = 300
MOST_ADDRESS_SPACE = 2 * 2**30
LONGEST_LINE = 1_200
DATASET = "dataset"
FUNCTION_FILE = Path(__file__).parent / "outputs.py"
HUMAN = [1.0, 1.0, 12.0, 12.0]

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["prefect_cvat.cli", "prefect_cvat.transport", "PIL.PngImagePlugin"])


@dataclass
class Outcome:
    """What came of a hostile input.

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
    """A sandbox, the hostile server before it, and a client that is not attacked."""

    def __init__(self, sandbox: Sandbox, server: HostileServer, client: Client) -> None:
        self.sandbox = sandbox
        self.server = server
        self.client = client

    def play(self, hostile: HostileInput) -> Outcome:
        """Annotate a task under attack, then once more without it."""
        outcome = Outcome(hostile)
        task_id, human = self._make_task()
        with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
            self.server.play(hostile)
            try:
                self._run(outcome, task_id, Path(folder))
            finally:
                outcome.attacked = self.server.attacked
                self.server.play(None)
            self._judge_process(outcome)
            if outcome.exit_code != 0 and any((Path(folder) / DATASET).glob("*")):
                outcome.problems["half-written"] = "there is a dataset of an export that failed"
            self._judge_annotations(outcome, task_id, human)
        return outcome

    def _make_task(self) -> tuple[int, int]:
        task = self.client.create_task("a task", [label_spec("car", None)])
        images = {f"{i}.png": picture(seed=i) for i in range(FRAMES)}
        self.client.upload_images(task.id, images, chunk_size=2)
        [label] = self.client.labels(task.id)
        [job] = self.client.jobs(task)
        shape = {"label_id": label.id, "frame": 0, "type": "rectangle", "points": HUMAN, "source": "manual"}
        body = {"version": 0, "tags": [], "shapes": [shape], "tracks": []}
        return task.id, self.client.create_job_annotations(job.id, body).shapes[0]["id"]

    def _run(self, outcome: Outcome, task_id: int, folder: Path) -> None:
        started = time.monotonic()
        arguments = [
            *("--server-host", self.server.url, "--auth", f"{self.sandbox.user}:{self.sandbox.password}"),
            *(outcome.input.command, str(task_id)),
        ]
        if outcome.input.command == "annotate":
            arguments += ["--function-file", str(FUNCTION_FILE), "-p", f"output=str:{outcome.input.output}"]
        else:
            arguments += ["--to", str(folder / DATASET)]
        ours, theirs = CONTEXT.Pipe(duplex=False)
        process = CONTEXT.Process(target=_command, args=(arguments, str(folder), theirs))
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

    def _judge_annotations(self, outcome: Outcome, task_id: int, human: int) -> None:
        shapes = self.client.task_annotations(task_id).shapes
        of_run = [shape for shape in shapes if shape["source"] != "manual"]
        if outcome.input.kind == "output":
            if outcome.exit_code != 0 and of_run:
                outcome.problems["half-written"] = f"{len(of_run)} shapes are left of a function that failed"
            if outcome.exit_code == 0 and of_run:
                return  # hostile only in its form: it was taken, as a whole
        try:
            annotate_task(self.client, task_id, create(), use_cache=False)
        except Exception as error:
            outcome.problems["half-written"] = f"the next run failed: {error}"[:600]
            return
        shapes = self.client.task_annotations(task_id).shapes
        if [shape["id"] for shape in shapes if shape["source"] == "manual"] != [human]:
            outcome.problems["half-written"] = "what a human had drawn is not there any more"
        frames = sorted(shape["frame"] for shape in shapes if shape["source"] != "manual")
        if frames != list(range(FRAMES)):
            outcome.problems["half-written"] = f"after the next run, boxes are on the frames {frames}"


def _command(arguments: list[str], folder: str, pipe: Any) -> None:
    """The command line, with what it prints in a file."""
    os.environ.update(
        PREFECT_CVAT_CACHE_DIR=f"{folder}/cache",
        PREFECT_CVAT_RUNS_DIR=f"{folder}/runs",
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
    from prefect_cvat import client, paced_connections, transport
    from prefect_cvat.cli import main

    # what waits for minutes with a user waits for seconds here
    paced_connections.WINDOW_SECONDS = SLOWEST
    client.Client.__init__.__kwdefaults__["timeout"] = (SLOWEST, SLOWEST)
    transport.RetryPolicy.__init__.__kwdefaults__["give_up_after"] = GIVE_UP_AFTER
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
