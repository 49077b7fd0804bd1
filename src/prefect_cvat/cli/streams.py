"""The standard streams of the process, made fit for what is printed."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys

__all__ = ["escape_unprintable", "reopen_closed_streams"]


def reopen_closed_streams() -> None:
    """Open stdin, stdout and stderr where the process was started without them.

    Else the next files that are opened, such as a lock, would take their places, and get what is printed.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def escape_unprintable() -> None:
    """Print characters that the terminal's encoding lacks as escapes of JSON."""
    codecs.register_error("json_escapes", _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json_escapes")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
