"""Attacks on the answers of the sandbox, in a proxy before it."""

from __future__ import annotations

import re
import threading

from changing_proxy import Reply
from hostile.hostile_input import HostileInput


class Attacker:
    """Changes the answers that the current hostile input is about.

    Attributes:
        attacked: How many answers were changed for the current input.
    """

    def __init__(self) -> None:
        self.attacked = 0
        self._input: HostileInput | None = None
        self._lock = threading.Lock()

    def play(self, hostile: HostileInput | None) -> None:
        """Set the current input; None passes all answers on as they are."""
        with self._lock:
            self._input = hostile
            self.attacked = 0

    def change(self, method: str, path: str, reply: Reply) -> Reply:
        """Change a reply if the current input is about it."""
        with self._lock:
            hostile = self._input
            if hostile is None or not hostile.route or not re.search(hostile.route, f"{method} {path}"):
                return reply
            if hostile.times is not None and self.attacked >= hostile.times:
                return reply
            self.attacked += 1
        return hostile.attack(reply)
