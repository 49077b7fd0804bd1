"""Why a call is refused or fails, as an HTTP status and the reason phrase, which is what CVAT shows."""

from __future__ import annotations

import re

__all__ = ["Refusal", "Replaced", "reason_phrase", "without_place"]

MAX_REASON = 200
"""Maximum length of a reason phrase in characters."""

_PLACE = re.compile(r" \([^()]*, line \d+[^()]*\)")
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s'\"()/]+/)+")


class Refusal(Exception):  # noqa: N818 (it is an answer)
    """A call that is answered with an error.

    Attributes:
        status: The HTTP status.
        reason: What the user of CVAT reads, in one line.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason

    @classmethod
    def of(cls, name: str, error: Exception) -> Refusal:
        """The answer for an error of a function; its file and line are in the log only."""
        return cls(500, f"{name}: {without_place(str(error))}")


class Replaced(Refusal):
    """A call to a function that takes no more calls, since another one has taken its name."""

    def __init__(self, name: str) -> None:
        super().__init__(503, f"{name} is being replaced: try again")


def without_place(message: str) -> str:
    """An error message without file and line, and without the folders of other paths."""
    return _FOLDERS.sub("", _PLACE.sub("", message))


def reason_phrase(text: str) -> str:
    """Text as an HTTP reason phrase: one line of printable ASCII, not too long."""
    line = " ".join(text.split()).encode("ascii", "replace").decode()
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    return printable if len(printable) <= MAX_REASON else f"{printable[: MAX_REASON - 3]}..."
