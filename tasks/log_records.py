"""How the loggers of Prefect show the end of a run that failed or was stopped.

Prefect logs the error of a run with its traceback, of several kilobytes, and the end of a cancelled batch as
an error.
"""

from __future__ import annotations

import traceback
from logging import ERROR, INFO, LogRecord, getLevelName, getLogger

__all__ = ["shorten_log_records"]

MAX_TRACEBACK_CHARACTERS = 1200
"""The end of a traceback that is kept: where the error was raised."""


def shorten_log_records() -> None:
    """Shorten tracebacks in the logs of runs, and log the end of a cancelled batch as information."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        getLogger(name).addFilter(_shorten)  # once, however often it is called


def _shorten(record: LogRecord) -> bool:
    if record.levelno == ERROR and record.getMessage().startswith("Finished in state Cancelled("):
        record.levelno, record.levelname = INFO, getLevelName(INFO)
    if record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if len(text) > MAX_TRACEBACK_CHARACTERS:
            text = f"(the end of the traceback) ...{text[-MAX_TRACEBACK_CHARACTERS:]}"
        record.exc_info, record.exc_text = None, text
    return True
