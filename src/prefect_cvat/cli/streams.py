"""Prepares the standard streams of the process for printing."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys

__all__ = ["escape_unprintable", "reopen_closed_streams"]


def reopen_closed_streams() -> None:
    """Open stdin, stdout and stderr if the process was started without them.

    Otherwise the next opened files, such as a lock, would get their numbers, and the output.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def escape_unprintable() -> None:
    """Print characters that the encoding of the terminal lacks as JSON escapes."""
    codecs.register_error("json_escapes", _escape)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="json_escapes")


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
