"""Ending in order when somebody ends the process, so that it leaves nothing behind."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

__all__ = ["SIGTERM_EXIT_CODE", "Terminated", "exit_cleanly_on_sigterm"]

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM
"""The exit status of a process that SIGTERM has ended."""


class Terminated(SystemExit):
    """Somebody has ended the process; it comes wherever the main thread is, also within a function."""


def exit_cleanly_on_sigterm() -> None:
    """On SIGTERM, leave all that is going on as on an error, and exit with `SIGTERM_EXIT_CODE`.

    By itself Python ends at once: folders of files on their way stay, and what is being written stays half
    done. Prefect does the same in the processes of flow runs.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second SIGTERM ends the process at once
    # not by print: the signal may have come in the midst of another one
    os.write(2, b"error: told to end (SIGTERM); run it again to complete it\n")
    raise Terminated(SIGTERM_EXIT_CODE)
