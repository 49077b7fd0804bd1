"""Faults that lie inside the application: writes that store a part, reads of what there was before."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

# The place in an ASGI scope where the middleware leaves word for the application.
WITHIN = "prefect_cvat.sandbox.api.handler_fault"
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class FaultWithin:
    """What goes wrong while a request is carried out; by default nothing.

    Attributes:
        stored_share: How much of the annotations that are written is stored; None for all.
        chance: From 0 to 1: decides which.
        lag: Seconds; reads see what there was so long ago.
    """

    stored_share: float | None = None
    chance: float = 0
    lag: float = 0

    def lost(self, written: Sequence[_Item]) -> list[_Item]:
        """What is not to be stored: at least one where a part is, and there is any."""
        if self.stored_share is None or not written:
            return []
        count = max(1, len(written) - round(len(written) * self.stored_share))
        return random.Random(self.chance).sample(written, count)  # noqa: S311 - no secret hangs on it


NOTHING = FaultWithin()
