"""What a hostile input is: something that is wrong with a server, a task or a function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

JSON = "application/vnd.cvat+json"
HTML = "text/html"


@dataclass(frozen=True)
class Reply:
    """An answer of the server, as it goes out.

    Attributes:
        status: Its status.
        headers: Its headers, without `Content-Length`.
        body: Its bytes.
        raw: What is sent in place of all that, piece by piece, until the other side hangs up.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", JSON),)
    body: bytes = b""
    raw: Callable[[], Iterator[bytes]] | None = None

    def with_header(self, name: str, value: str) -> Reply:
        """The same with a header set."""
        kept = tuple(header for header in self.headers if header[0].lower() != name.lower())
        return replace(self, headers=(*kept, (name, value)))


Attack = Callable[[Reply], Reply]
"""Makes another answer of the true one."""


@dataclass(frozen=True)
class HostileInput:
    """One hostile input.

    Attributes:
        name: What it is, in a few words.
        kind: `chunk`, `video`, `json`, `header`, `name`, `output`, `large image` or `many shapes`.
        route: A regular expression for `METHOD /path`; answers of these requests are attacked.
        attack: What is done to them.
        times: How many answers are attacked; None for all of them.
        output: What the function returns: a name of `outputs.py`, or of what else the command takes. By default
            it finds a box on each frame, or whatever is right there.
        command: What is run: a name of `commands.py`.
        task: What the task is made of: a kind of `tasks.py`.
    """

    name: str
    kind: str
    route: str = ""
    attack: Attack = field(default=lambda reply: reply)
    times: int | None = None
    output: str = "one_box"
    command: str = "annotate"
    task: str = "images"
