"""The faults of a running sandbox: the active rules, the log of injected faults, pending requests."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from prefect_cvat.sandbox.faults.kinds import StaleRead
from prefect_cvat.sandbox.faults.rules import Decider, FaultPlan, Injection, RequestFacts, Rule


class Injected(BaseModel):
    """An injected fault.

    Attributes:
        number: Position in the log, from 0.
        rule: Index of the rule.
        method: Method of the request.
        path: Path of the request.
        query: Raw query string of the request.
        fault: Kind of the fault.
        when: `before` or `after` the application handles the request; `late` if the application handles it
            after the client has got its response.
        application_status: Status that the application returned, even if the client did not get it; None if
            the application has not handled the request.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    rule: int
    method: str
    path: str
    query: str
    fault: str
    when: Literal["before", "after", "late"]
    application_status: int | None = None


class Faults:
    """Sets faults and logs the injected ones. Thread-safe.

    Examples:
        >>> faults = Faults()
        >>> faults.set([{"methods": ["PATCH"], "fault": {"kind": "reset", "when": "after"}}], seed=1)
        >>> faults.active
        True
        >>> faults.clear()
        >>> faults.active
        False
    """

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._decider: Decider | None = None
        self._longest_lag = 0.0
        self._log: list[Injected] = []
        self._pending = 0

    @property
    def active(self) -> bool:
        """Whether any rule is active."""
        return self._decider is not None

    @property
    def longest_stale_read(self) -> float:
        """The longest `seconds` of the active stale reads; 0 if there are none."""
        return self._longest_lag

    @property
    def plan(self) -> FaultPlan:
        """The active rules and their seed."""
        decider = self._decider
        return FaultPlan() if decider is None else decider.plan

    @property
    def pending(self) -> int:
        """Number of requests with a fault that are not finished yet, including late commits."""
        return self._pending

    def set(self, rules: Iterable[Rule | Mapping[str, Any]], *, seed: int = 0) -> None:
        """Replace the active rules. Resets the counts and the log.

        Args:
            rules: The rules, or mappings with their fields.
            seed: Seed of the random numbers.

        Raises:
            pydantic.ValidationError: A rule is invalid. It is a ValueError, and names the field.
        """
        self.use(FaultPlan.model_validate({"seed": seed, "rules": tuple(rules)}))

    def use(self, plan: FaultPlan) -> None:
        """Replace the active rules by those of a plan, as `set` does."""
        with self._lock:
            self._decider = Decider(plan) if plan.rules else None
            faults = (rule.fault for rule in plan.rules)
            self._longest_lag = max(
                (fault.seconds for fault in faults if isinstance(fault, StaleRead)), default=0.0
            )
            self._log = []

    def clear(self) -> None:
        """Remove all rules. The log stays until rules are set again. Late commits still happen."""
        with self._lock:
            self._decider = None
            self._longest_lag = 0.0

    def log(self) -> tuple[Injected, ...]:
        """The faults injected since rules were last set, in the order of the requests."""
        with self._lock:
            return tuple(self._log)

    def wait(self, timeout: float = 10) -> None:
        """Wait until no request with a fault is pending. After that, late commits are done.

        Args:
            timeout: Seconds.

        Raises:
            TimeoutError: Requests are still pending.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            while self._pending:
                if not self._lock.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{self._pending} requests are still pending after {timeout} s")

    def decide(self, request: RequestFacts) -> tuple[tuple[Injection, ...], list[Injected]]:
        """Decide which faults a request gets, and add them to the log."""
        with self._lock:
            if self._decider is None:
                return (), []
            injections = self._decider.decide(request)
            entries = [
                Injected(
                    number=number,
                    rule=injection.rule,
                    method=request.method,
                    path=request.path,
                    query=request.query,
                    fault=injection.fault.kind,
                    when=injection.when,
                )
                for number, injection in enumerate(injections, start=len(self._log))
            ]
            self._log += entries
            return injections, entries

    def note_answer(self, entries: Iterable[Injected], status: int) -> None:
        """Add the status that the application returned to the log."""
        with self._lock:
            for entry in entries:
                # The log may have been reset since.
                if entry.number < len(self._log) and self._log[entry.number] is entry:
                    self._log[entry.number] = entry.model_copy(update={"application_status": status})

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Count a request as pending during the `with` block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Count one more pending request."""
        with self._lock:
            self._pending += 1

    def end(self) -> None:
        """Count one pending request less."""
        with self._lock:
            self._pending -= 1
            self._lock.notify_all()
