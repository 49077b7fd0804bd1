"""What a hostile input is: something that is wrong with a server, a task or a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from changing_proxy import Reply

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
