"""When a request is sent again, and after how long."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

__all__ = ["MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME", "RetryPolicy"]

MAX_ATTEMPTS_OF_UNKNOWN_OUTCOME = 8
"""Maximum number of attempts at a write if it is unknown after each whether the server executed it.

Before each further attempt the caller reads what the server has stored.
"""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How long to wait between attempts at a request, and when to give up.

    The caller decides which errors are worth another attempt: `request_sender.py`.

    Attributes:
        give_up_after: Seconds from the first attempt after which there is no further one.
        give_up_after_500: The same for consecutive responses of status 500, with which CVAT itself fails: for
            a short time while its database restarts, or permanently if data are damaged.
        first_delay: Seconds before the second attempt, less up to 25 %; each further wait is twice as long.
        longest_delay: Maximum seconds between two attempts, unless the server asks for more by `Retry-After`.
    """

    give_up_after: float = 300.0
    give_up_after_500: float = 30.0
    first_delay: float = 0.5
    longest_delay: float = 20.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after the given attempt (1 is the first), with up to 25 % of jitter.

        `Retry-After` can make the wait longer, but not shorter: `Retry-After: 0` would flood the server.
        """
        delay = min(self.longest_delay, self.first_delay * 2.0 ** min(attempt - 1, 16))
        delay *= random.uniform(0.75, 1.0)  # noqa: S311 (spreads clients, guards nothing)
        return max(delay, retry_after or 0.0)

    def retrying(
        self,
        *,
        retry_on: Callable[[BaseException], bool],
        on_retry: Callable[[str], object] | None = None,
        give_up_after: float | None = None,
        max_attempts: int | None = None,
        pause: Callable[[float, BaseException | None], object] | None = None,
    ) -> Retrying:
        """Make a caller that repeats one request while it fails, then raises the last error.

        Args:
            retry_on: Whether to repeat after an error. Its attribute `retry_after` is honoured.
            on_retry: Called before each further attempt with a line that has the error and the wait.
            give_up_after: Seconds, in place of the policy's.
            max_attempts: Limits the attempts in place of the time.
            pause: Waits between two attempts; gets the seconds and the error. Its errors end the attempts.
        """
        import tenacity  # here, as it takes up to 0.1 s

        last_error: BaseException | None = None

        def wait(state: RetryCallState) -> float:
            return self.delay(state.attempt_number, getattr(_error(state), "retry_after", None))

        def announce(state: RetryCallState) -> None:
            nonlocal last_error
            last_error = _error(state)
            if on_retry is not None:
                number, seconds = state.attempt_number + 1, state.upcoming_sleep
                on_retry(f"{_error(state)}; attempt {number} follows in {seconds:.1f} s")

        def sleep(seconds: float) -> None:
            if pause is None:
                time.sleep(seconds)
            else:
                pause(seconds, last_error)

        seconds = self.give_up_after if give_up_after is None else give_up_after
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(retry_on),
            wait=wait,
            stop=tenacity.stop_after_attempt(max_attempts)
            if max_attempts is not None
            else _StopInTime(seconds, self.give_up_after_500),
            before_sleep=announce,
            sleep=sleep,
            reraise=True,
        )


class _StopInTime:
    """Stops when the next attempt would come too late. For one request only."""

    def __init__(self, give_up_after: float, give_up_after_500: float) -> None:
        self._give_up_after = give_up_after
        self._give_up_after_500 = give_up_after_500
        self._failing_since: float | None = None  # with 500 and nothing else

    def __call__(self, state: RetryCallState) -> bool:
        now = state.seconds_since_start or 0.0
        if getattr(_error(state), "status", None) != 500:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        next_attempt = now + state.upcoming_sleep
        if self._failing_since is not None and next_attempt - self._failing_since > self._give_up_after_500:
            return True
        return next_attempt > self._give_up_after


def _error(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
