"""Faults inside a handler: writes that store only a part, reads of an old state."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

# Key of the ASGI scope under which the middleware passes the fault to the endpoint.
SCOPE_KEY = "prefect_cvat.sandbox.api.handler_fault"
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class HandlerFault:
    """What goes wrong while a handler runs; nothing by default.

    Attributes:
        stored_share: Share of the written annotations that is stored, 0 to 1; None for all.
        chance: Random number from 0 to 1 that selects them.
        lag: Age in seconds of the state that reads see.
    """

    stored_share: float | None = None
    chance: float = 0
    lag: float = 0

    def items_to_drop(self, written: Sequence[_Item]) -> list[_Item]:
        """The items that are not stored: at least one if `stored_share` is set and anything is written."""
        if self.stored_share is None or not written:
            return []
        count = max(1, len(written) - round(len(written) * self.stored_share))
        return random.Random(self.chance).sample(written, count)  # noqa: S311 - not a secret


NO_FAULT = HandlerFault()
