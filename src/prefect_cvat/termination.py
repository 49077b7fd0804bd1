"""Cleans up when the process is terminated by SIGTERM."""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn

__all__ = ["SIGTERM_EXIT_CODE", "Terminated", "exit_cleanly_on_sigterm"]

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM
"""The exit status of a process terminated by SIGTERM."""


class Terminated(SystemExit):
    """The process received SIGTERM. Raised wherever the main thread is, also within a function."""


def exit_cleanly_on_sigterm() -> None:
    """On SIGTERM, unwind the stack as on an error, and exit with `SIGTERM_EXIT_CODE`.

    Without this Python ends at once, and leaves temporary folders and half-written data. Prefect does the
    same in the processes of flow runs.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second SIGTERM ends the process at once
    # not by print: the signal may have interrupted another print
    os.write(2, b"error: ended by SIGTERM; run it again to complete it\n")
    raise Terminated(SIGTERM_EXIT_CODE)
