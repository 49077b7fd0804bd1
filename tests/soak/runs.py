"""One run, in a process of its own, which may be killed at any moment."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from prefect_cvat import Client, TrackOptions, annotate_task, track_task, undo_run
from prefect_cvat.exceptions import PrefectCvatError, is_transient
from prefect_cvat.http.retry_policy import RetryPolicy
from prefect_cvat.options.shape_tracking_options import ShapeTrackingOptions
from prefect_cvat.runs.execution import pipeline
from prefect_cvat.runs.refine_task import refine_task
from prefect_cvat.upload import job_writer as upload
from prefect_cvat.upload.sending import upload_queue
from soak.functions import function
from soak.mutations import MUTATIONS
from soak.schedule import LATE_COMMIT_SECONDS, READ_TIMEOUT, STALE_READ_SECONDS, Kill

LONGEST_RUN = 120.0

CONTEXT = multiprocessing.get_context("forkserver")
# so that a process is there in milliseconds
CONTEXT.set_forkserver_preload(
    [
        "prefect_cvat.runs.annotate_task",
        "prefect_cvat.runs.refine_task",
        "prefect_cvat.runs.track_task",
        "prefect_cvat.upload.undo_annotations",
        "prefect_cvat.sandbox",
        "PIL.PngImagePlugin",
        "supervision",
        "trackers",
    ]
)


@dataclass(frozen=True)
class Told:
    """The arguments of the process of a run."""

    kind: str
    url: str
    user: str
    password: str
    home: str
    task: int
    key: str
    names: tuple[str, ...]
    frames: int
    existing: str
    selected: tuple[int, ...] | None
    direction: str
    frames_per_batch: int | None
    fails_on: int | None
    seconds: float
    attempts: int
    stages_are_retried: bool
    is_sent_at_once: bool
    undo: str = ""
    mutation: str = ""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        state: `done`, `failed` (with one of our errors), `crashed` (with another one) or `killed`.
        error: The name of the class of the error.
        text: The message of the error.
        report: The report of the run, if there is one.
    """

    state: str
    error: str = ""
    text: str = ""
    report: dict[str, Any] = field(default_factory=dict)


def run(told: Told, kill: Kill | None, writes: Callable[[], int]) -> Ended:
    """Start a run and wait for its end.

    Args:
        told: The arguments of the run.
        kill: When to kill it; None for never.
        writes: Returns the number of writes that the server has received since it began.
    """
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(told, sender))
    process.start()
    sender.close()
    if kill is not None:
        while kill.after == "writes" and process.is_alive() and writes() < kill.writes:
            time.sleep(0.002)
        process.join(kill.seconds)
        if process.is_alive():
            process.kill()  # unlike os.kill, no error if it ends at this moment
    try:
        ended = receiver.recv() if receiver.poll(LONGEST_RUN) else None
    except EOFError:
        ended = Ended("killed", "killed")
    if ended is None:
        process.kill()
        ended = Ended("crashed", "", f"no end after {LONGEST_RUN} s")
    process.join()
    receiver.close()
    return ended


def _run(told: Told, answer: Any) -> None:
    os.environ.update(
        PREFECT_CVAT_CACHE_DIR=f"{told.home}/cache",
        PREFECT_CVAT_RUNS_DIR=f"{told.home}/runs",
        PREFECT_CVAT_LATE_COMMIT_SECONDS=str(LATE_COMMIT_SECONDS),
        PREFECT_CVAT_STALE_READ_SECONDS=str(STALE_READ_SECONDS),
    )
    upload.JobWriter.retry_delay = 0.02
    upload.MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME = told.attempts
    logging.getLogger("prefect_cvat").setLevel(logging.CRITICAL)
    if told.is_sent_at_once:
        upload_queue.FIRST_WAIT = 0.0
    if told.stages_are_retried:  # as Prefect does
        pipeline._call = _call_again
    MUTATIONS[told.mutation].take_out()
    policy = RetryPolicy(give_up_after=1.5, first_delay=0.02, longest_delay=0.1)
    try:
        with Client(told.url, timeout=(5.0, READ_TIMEOUT), retry=policy) as client:
            client.login((told.user, told.password))
            report = _carry_out(told, client)
    except PrefectCvatError as error:
        said = getattr(error, "report", None)
        answer.send(Ended("failed", type(error).__name__, str(error), said.model_dump() if said else {}))
    except BaseException:
        answer.send(Ended("crashed", "", traceback.format_exc()))
    else:
        answer.send(Ended("done", report=report))


def _carry_out(told: Told, client: Client) -> dict[str, Any]:
    if told.undo:
        return undo_run(client, told.undo).model_dump()
    made = function(told.kind, told.key, told.frames, fails_on=told.fails_on, seconds=told.seconds)
    match told.kind:
        case "refine":
            report = refine_task(
                client, told.task, made, to="polygon", frames_per_batch=told.frames_per_batch
            )
        case "follow":
            following = ShapeTrackingOptions(direction=told.direction, tolerance=0.5)
            report = track_task(
                client,
                told.task,
                made,
                shape_tracking_options=following,
                frames_per_batch=told.frames_per_batch,
            )
        case "track":
            tracking = TrackOptions(min_length=1, max_gap=1, fill_gap=0, tolerance=0.5)
            report = track_task(
                client,
                told.task,
                made,
                track_options=tracking,
                existing=told.existing,
                frames_per_batch=told.frames_per_batch,
            )
        case _:
            report = annotate_task(
                client,
                told.task,
                made,
                existing=told.existing,
                frames=told.selected,
                frames_per_batch=told.frames_per_batch,
            )
    return report.model_dump()


def _call_again(method: Callable[..., Any], args: Any) -> Any:
    values = [arg.result() if isinstance(arg, Future) else arg for arg in args]
    for _ in range(3):
        try:
            return method(*values)
        except PrefectCvatError as error:
            if not is_transient(error):
                raise
            time.sleep(0.02)
    return method(*values)
