"""Runs the commands of `sh` blocks."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import Self
from unittest import mock

from prefect_cvat.cli import main as cli
from sam3_models import write_tiny_sam3

SERVERS = (
    "prefect-cvat gateway",
    "prefect-cvat sandbox",
    "prefect-cvat serve",
    "prefect-cvat webhooks",
    "prefect server start",
    "prefect worker start",
    "python find_new_tasks.py",
)
"""Commands that run until they are stopped."""

COMMAND_SECONDS = 180
SERVER_SECONDS = 90


def starts_server(command: str) -> bool:
    """Whether a command runs until it is stopped."""
    return command.startswith(SERVERS)


class Shell:
    """Runs commands in the current folder, and stops running servers at its exit.

    `prefect-cvat` runs in this process, where everything is imported. It runs in its own process if it is a server,
    and in a block that changes the environment, by `pip` or `export`.

    `pip` installs into a virtual environment of this shell, which has the libraries of this one but not
    prefect-cvat: that comes from its wheel, without an index. Processes then run from that environment.

    Args:
        folder: The folder for its environment and the output of servers.
        wheels: A folder with the wheel of this project.
    """

    def __init__(self, folder: Path, wheels: Path) -> None:
        self._venv, self._logs, self._wheels = folder / "venv", folder / "logs", wheels
        self._servers: list[subprocess.Popen[bytes]] = []
        self._environment = mock.patch.dict(os.environ)

    def __enter__(self) -> Self:
        self._environment.start()
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._servers)
        self._environment.stop()

    def run(self, text: str) -> Printed:
        """Run commands, one a line; all must succeed.

        Returns:
            What they print to the standard output; or what a server prints, which must be the last of them.
        """
        printed, apart, server = "", False, None
        for words in _commands(text):
            assert server is None, f"{shlex.join(words)!r} comes after a server, which does not end"
            apart = apart or words[0] in ("pip", "export")
            if starts_server(shlex.join(words)):
                server = self._start(words)
            else:
                printed += self._run(words, apart)
        return server or Printed(lambda: printed)

    def _run(self, words: list[str], apart: bool) -> str:
        match words:
            case ["export", *assignments]:
                os.environ.update(assignment.split("=", 1) for assignment in assignments)
                return ""
            case ["pip", *arguments]:
                return self._pip(arguments)
            case ["hf", "download", "facebook/sam3", "--local-dir", to]:
                write_tiny_sam3(Path(to))  # they are given to those who have accepted their licence
                return ""
            case ["prefect-cvat", *_] if not apart:
                return _run_in_this_process(words)
            case ["prefect-cvat" | "prefect" | "cvat-cli", *_]:
                return _finished(self._executable(words))
        raise AssertionError(f"no command that is known here: {shlex.join(words)}")

    def _start(self, words: list[str]) -> Printed:
        self._logs.mkdir(exist_ok=True)
        log = self._logs / f"{len(self._servers)}.txt"
        with log.open("wb") as file:
            server = subprocess.Popen(
                self._executable(words), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._servers.append(server)
        deadline = time.monotonic() + SERVER_SECONDS
        return Printed(log.read_text, lambda: server.poll() is not None or time.monotonic() > deadline)

    def _executable(self, words: list[str]) -> list[str]:
        python = str(self._venv / "bin" / "python") if self._venv.exists() else sys.executable
        module, *arguments = words
        if (self._venv / "bin" / module).exists():
            return [str(self._venv / "bin" / module), *arguments]
        return [python, "-m", module.replace("-", "_"), *arguments]

    def _pip(self, arguments: list[str]) -> str:
        for name, extras in re.findall(r"([\w-]+)\[([\w,-]+)\]", " ".join(arguments)):
            for extra in extras.split(","):
                assert extra in metadata(name).get_all("Provides-Extra", []), f"{name} has no extra {extra!r}"
        if not self._venv.exists():
            venv.create(self._venv)
            [packages] = self._venv.glob("lib/python*/site-packages")
            libraries = [path for path in sys.path if path.endswith("-packages")]
            (packages / "libraries.pth").write_text("\n".join(libraries))
            if not any("prefect-cvat" in argument for argument in arguments):
                self._pip(["install", "prefect-cvat"])  # as the start page has it
        settings = {
            "PIP_FIND_LINKS": str(self._wheels),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip takes it the wrong way round: do not isolate; setuptools is there
            "PIP_NO_DEPS": "1",  # they are all there, and to find that out takes pip many seconds
            "PIP_IGNORE_INSTALLED": "1",  # libraries of the test environment are not installed here
        }
        command = [str(self._venv / "bin" / "python"), "-m", "pip", *arguments]
        return _finished(command, {**os.environ, **settings})


@dataclass(frozen=True)
class Printed:
    """The output of commands.

    Attributes:
        read: What it is until now.
        is_final: Whether nothing more will come.
    """

    read: Callable[[], str]
    is_final: Callable[[], bool] = lambda: True


def _commands(text: str) -> Iterator[list[str]]:
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def _run_in_this_process(words: list[str]) -> str:
    said, code = io.StringIO(), None
    with (
        mock.patch("sys.argv", words),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.redirect_stderr(said),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    assert not code, f"{shlex.join(words)!r} ended with {code}: {said.getvalue()}"
    return printed.getvalue()


def _finished(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=COMMAND_SECONDS)
    assert done.returncode == 0, f"{shlex.join(command)!r} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def _end(servers: list[subprocess.Popen[bytes]]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        for server in servers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, number)
        for server in servers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(10)
