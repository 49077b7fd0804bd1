"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

import requests
from urllib3 import Retry

__all__ = ["ATTEMPTS", "RetryPolicy", "retry_after"]


ATTEMPTS = 8
"""How often a write is tried whose fate is unknown each time."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When a request is sent again.

    Requests that only read, and log-ins, are sent again after a connection error, a time-out, 429, 500,
    502, 503 and 504, and where what came for a chunk is not one. Requests that write are sent again after
    429 alone: that one says that nothing was done.

    Attributes:
        give_up_after: Seconds from the first attempt after which no further one is made.
        give_up_after_500: The same for 500 alone, again and again: CVAT itself fails over this request. That
            passes when its database restarts, and stays where data are damaged.
        first_delay: Seconds before the second attempt; each further wait is twice as long.
        longest_delay: Seconds that a wait grows to. A longer `Retry-After` of the server takes precedence.
    """

    give_up_after: float = 300.0
    give_up_after_500: float = 30.0
    first_delay: float = 0.5
    longest_delay: float = 20.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the given attempt (1 is the first), with up to 25 % of jitter.

        The server may ask for a longer wait, never for a shorter one: `Retry-After: 0` would be a storm.
        """
        delay = min(self.longest_delay, self.first_delay * 2.0 ** min(attempt - 1, 16))
        delay *= random.uniform(0.75, 1.0)  # noqa: S311 (spreads clients, guards nothing)
        return max(delay, retry_after or 0.0)


def retry_after(response: requests.Response) -> float | None:
    """Seconds that the server asks to wait, or None where it says nothing that can be read."""
    value = response.headers.get("Retry-After")
    try:
        return None if value is None else float(Retry().parse_retry_after(value))
    except Exception:  # urllib3 has an error of its own for it; a garbled header is no header
        return None
