"""The options of the command line that several subcommands share, and how their values are read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from prefect_cvat.auto_annotation import loading
from prefect_cvat.auto_annotation.secret_text import SecretReference
from prefect_cvat.cli.output import keep_stdout_for_json
from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import StorageError
from prefect_cvat.files.output_file import check_writable
from prefect_cvat.http.server_url import normalize_url
from prefect_cvat.number_ranges import NumberRanges
from prefect_cvat.options.existing import Existing, ExistingSource
from prefect_cvat.options.selection import Selection

__all__ = [
    "AllowUnmatchedLabels",
    "AsJson",
    "AsPolygons",
    "BatchSize",
    "ConfThreshold",
    "Device",
    "Downloads",
    "DryRun",
    "Frames",
    "FunctionFile",
    "FunctionModule",
    "FunctionName",
    "FunctionParameters",
    "IgnoreCase",
    "Jobs",
    "LabelMapping",
    "LabelThresholds",
    "MediaQuality",
    "ModelAttribute",
    "OnFrameError",
    "OpenIssues",
    "Quality",
    "RefreshCache",
    "ReportFile",
    "ReviewFrames",
    "ScoreAttribute",
    "Server",
    "SkipExistingIou",
    "SkipExistingSource",
    "SkipFrames",
    "TaskId",
    "UseCache",
    "check_output_file",
    "load_chosen_function",
    "read_existing",
    "read_object",
    "read_ranges",
    "read_selection",
]

MOST_JOBS = 10_000
"""How many jobs can be named: a lock is taken on each."""


def check_output_file(file: Path | None) -> Path | None:
    """Refuse a file that cannot be written, before anything is done."""
    if file is not None:
        try:
            check_writable(file)
        except StorageError as error:
            raise typer.BadParameter(str(error)) from None
    return file


FunctionName = Annotated[
    str | None, typer.Option("--function", metavar="NAME", help="A built-in, such as nanodet_detection.")
]
FunctionModule = Annotated[
    str | None, typer.Option(metavar="MODULE", help="Name of a module to use as the function.")
]
FunctionFile = Annotated[
    Path | None, typer.Option(metavar="PATH", help="Python file to use as the function.")
]
FunctionParameters = Annotated[
    list[str] | None,
    typer.Option("--function-parameter", "-p", metavar="NAME=TYPE:VALUE", help="Parameter of the function."),
]
ConfThreshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Least score; without it the function's own.")
]
Device = Annotated[str | None, typer.Option(help="Where to run the model: auto, cpu, cuda, cuda:1, mps.")]

ReportFile = Annotated[
    Path | None,
    # resolved before a function is called: it may go to another folder
    typer.Option(
        "--report",
        metavar="FILE",
        resolve_path=True,
        help="Write the report as JSON to this file.",
        callback=check_output_file,
    ),
]
AllowUnmatchedLabels = Annotated[
    bool, typer.Option("--allow-unmatched-labels", help="Drop what the task has no label for.")
]
AsPolygons = Annotated[bool, typer.Option("--conv-mask-to-poly", help="Write polygons instead of masks.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Most frames of a batch.")]
Downloads = Annotated[int, typer.Option(min=1, help="Chunks downloaded at a time.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and upload nothing.")]
Frames = Annotated[
    str | None,
    typer.Option(
        "--frames",
        metavar="RANGES|unannotated",
        help="Frames to look at: 0-99,150; or only those without any annotation, to annotate.",
    ),
]
IgnoreCase = Annotated[bool, typer.Option("--ignore-case", help="Match label names whatever their case.")]
Jobs = Annotated[str | None, typer.Option("--jobs", metavar="IDS", help="Jobs to write to: 12,13.")]
LabelMapping = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|FILE", help='Where labels go whose names differ: {"truck": "car", "dog": null}.'
    ),
]
LabelThresholds = Annotated[
    str | None,
    typer.Option(
        metavar="JSON|FILE",
        help='Least score of single labels, above or below that of all others: {"person": 0.7}. Of a function'
        " that does not tell its own least score, lower ones need a score for each label.",
    ),
]
RefreshCache = Annotated[bool, typer.Option("--refresh-cache", help="Detect everything anew, and keep that.")]
SkipExistingIou = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1,
        help="Leave out what is annotated already: shapes of the same label that overlap by this intersection"
        " over union or more, such as 0.6, and tags of the same label.",
    ),
]
SkipExistingSource = Annotated[
    ExistingSource,
    typer.Option(help="Whose annotations count for that: what humans had a hand in, machines, or both."),
]
ReviewFrames = Annotated[
    int,
    typer.Option(
        min=0, metavar="N", help="How many frames to report that should be looked at first; 0 for none."
    ),
]
OpenIssues = Annotated[
    int,
    typer.Option(min=0, metavar="N", help="Open issues in CVAT on so many frames to be looked at first."),
]
TaskId = Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="Number of the task.")]
UseCache = Annotated[bool, typer.Option("--cache/--no-cache", help="Keep detections between runs.")]
AsJson = Annotated[
    bool, typer.Option("--json", callback=keep_stdout_for_json, help="Print the report as JSON.")
]


ScoreAttribute = Annotated[
    str,
    typer.Option(metavar="NAME", help="Attribute of the task's labels that gets scores; '' for none."),
]
ModelAttribute = Annotated[
    str,
    typer.Option(metavar="NAME", help="Attribute of the task's labels that gets the model; '' for none."),
]


class OnFrameError(StrEnum):
    """What a frame on which the function fails does to the run."""

    FAIL = "fail"
    SKIP = "skip"


class MediaQuality(StrEnum):
    """Which of a task's chunks are fetched."""

    ORIGINAL = "original"
    COMPRESSED = "compressed"


Quality = Annotated[
    MediaQuality, typer.Option(help="Fetch original media, or smaller images as annotators see them.")
]
SkipFrames = Annotated[OnFrameError, typer.Option(help="Whether a frame that fails ends the run.")]


@dataclass
class Server:
    """How to reach the server, from the options before the subcommand."""

    host: str
    port: int | None
    auth: str | None
    access_token: str | None
    organization: str | None
    insecure: bool

    @property
    def url(self) -> str:
        """The server's address."""
        return normalize_url(self.host if self.port is None else f"{self.host.rstrip('/')}:{self.port}")

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """Connect and log in."""
        with Client(
            self.url, organization=self.organization, verify=not self.insecure, access_token=self._token()
        ) as client:
            if (login := self.login()) is not None:
                client.login(login)
            elif self._token() is None:
                raise typer.BadParameter(
                    "no credentials: pass --auth USER[:PASS] or --access-token, or set CVAT_ACCESS_TOKEN"
                )
            yield client

    def login(self) -> tuple[str, str] | None:
        """The user and the password that were given; None where it is not by them that one logs in."""
        if self.auth is None:
            return None
        user, colon, password = self.auth.partition(":")
        if not colon:
            password = os.environ.get("PASS") or typer.prompt(
                f"Password of {user}", hide_input=True, err=True
            )
        return user, password

    def _token(self) -> str | None:
        return None if self.auth is not None else self.access_token


def load_chosen_function(
    name: str | None, module: str | None, file: Path | None, parameters: list[str] | None, device: str | None
) -> Any:
    """Make the function that the options name."""
    if sum(choice is not None for choice in (name, module, file)) != 1:
        raise typer.BadParameter("give one of --function, --function-module and --function-file")
    try:
        values = dict(map(loading.parse_parameter, parameters or ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="-p") from None
    if device is not None:
        values["device"] = device
    if not any(isinstance(value, SecretReference) for value in values.values()):
        return _load(name, module, file, values)
    from prefect_cvat.deployments.prefect_server import prefect_server
    from prefect_cvat.secret_parameters import secrets_hidden, with_secrets

    with prefect_server():
        values = with_secrets(values)
    with secrets_hidden(values):
        return _load(name, module, file, values)


def _load(name: str | None, module: str | None, file: Path | None, parameters: dict[str, Any]) -> Any:
    if module is not None:
        return loading.load_function_module(module, parameters)
    if file is not None:
        return loading.load_function_file(file, parameters)
    assert name is not None
    return loading.load_function(name, parameters)


def read_object(text: str | None, option: str) -> dict[str, Any] | None:
    """Read a JSON object, given as such or as the name of a file."""
    if text is None:
        return None
    try:
        if not text.lstrip().startswith("{"):
            text = Path(text).read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"neither JSON nor a file of JSON: {error}", param_hint=option) from None
    if not isinstance(value, dict):
        raise typer.BadParameter("must be an object, by label", param_hint=option)
    return value


def read_ranges(text: str, option: str) -> NumberRanges:
    """Read numbers and ranges of numbers, such as `0-99,150`."""
    try:
        return NumberRanges.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def read_selection(frames: str | None, jobs: str | None) -> Selection:
    """Read which frames and jobs are asked for."""
    unannotated = frames == "unannotated"
    return Selection(
        frames=None if frames is None or unannotated else read_ranges(frames, "--frames"),
        unannotated=unannotated,
        jobs=None if jobs is None else _read_jobs(jobs),
    )


def _read_jobs(text: str) -> list[int]:
    jobs = read_ranges(text, "--jobs")
    if len(jobs) > MOST_JOBS:
        raise typer.BadParameter(
            f"{text!r} names {len(jobs)} jobs; name {MOST_JOBS} at the most, or leave the option out for all",
            param_hint="--jobs",
        )
    return list(jobs)


def read_existing(existing: Existing | None, clear_existing: bool) -> Existing:
    """Put the two options for the annotations that are there into one."""
    if clear_existing and existing not in (None, Existing.CLEAR):
        raise typer.BadParameter("--clear-existing contradicts --existing")
    return Existing.CLEAR if clear_existing else existing or Existing.KEEP
