"""The faults of a running sandbox: which are in force, which were injected, what is still to come."""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from prefect_cvat.sandbox.faults.kinds import StaleRead
from prefect_cvat.sandbox.faults.rules import Asked, Decider, FaultPlan, Injection, Rule


class Injected(BaseModel):
    """A fault that was injected.

    Attributes:
        number: Its place in the log, from 0.
        rule: The index of its rule.
        method: The request's.
        path: The request's.
        query: The request's, as it was sent.
        fault: The kind of the fault.
        when: Whether it lies `before` or `after` the application carries the request out; `late` where that
            comes after the client's answer.
        application_status: What the application answered, seen by the client or not; None where it was not
            asked, or not yet.
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
    """Sets faults and tells which were injected. Any thread may call it.

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
        """Whether any rule is in force."""
        return self._decider is not None

    @property
    def longest_lag(self) -> float:
        """Of how many seconds the past is asked for by the rules in force."""
        return self._longest_lag

    @property
    def plan(self) -> FaultPlan:
        """The rules in force and their seed."""
        decider = self._decider
        return FaultPlan() if decider is None else decider.plan

    @property
    def pending(self) -> int:
        """How many requests that met a fault the application may still carry out; late commits among them."""
        return self._pending

    def set(self, rules: Iterable[Rule | Mapping[str, Any]], *, seed: int = 0) -> None:
        """Puts rules in force in place of those before. Counts begin anew, and so does the log.

        Args:
            rules: The rules, or mappings with their fields.
            seed: Of the chances.

        Raises:
            pydantic.ValidationError: A ValueError that names the field, for a rule that makes no sense.
        """
        self.use(FaultPlan.model_validate({"seed": seed, "rules": tuple(rules)}))

    def use(self, plan: FaultPlan) -> None:
        """Does what `set` does, with a plan."""
        with self._lock:
            self._decider = Decider(plan) if plan.rules else None
            faults = (rule.fault for rule in plan.rules)
            self._longest_lag = max(
                (fault.seconds for fault in faults if isinstance(fault, StaleRead)), default=0.0
            )
            self._log = []

    def clear(self) -> None:
        """Takes every rule out of force. The log stays until rules are set; late commits still come."""
        with self._lock:
            self._decider = None
            self._longest_lag = 0.0

    def log(self) -> tuple[Injected, ...]:
        """What was injected since rules were last set, in the order in which the requests came."""
        with self._lock:
            return tuple(self._log)

    def wait(self, timeout: float = 10) -> None:
        """Waits until no request that met a fault is pending: what could be committed is.

        Args:
            timeout: Seconds.

        Raises:
            TimeoutError: If some still are.
        """
        deadline = time.monotonic() + timeout
        with self._lock:
            while self._pending:
                if not self._lock.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"{self._pending} requests are still pending after {timeout} s")

    def decide(self, asked: Asked) -> tuple[tuple[Injection, ...], list[Injected]]:
        """The faults that a request meets, and their entries in the log."""
        with self._lock:
            if self._decider is None:
                return (), []
            injections = self._decider.decide(asked)
            entries = [
                Injected(
                    number=number,
                    rule=injection.rule,
                    method=asked.method,
                    path=asked.path,
                    query=asked.query,
                    fault=injection.fault.kind,
                    when=injection.when,
                )
                for number, injection in enumerate(injections, start=len(self._log))
            ]
            self._log += entries
            return injections, entries

    def note_answer(self, entries: Iterable[Injected], status: int) -> None:
        """Writes into the log what the application answered to a request."""
        with self._lock:
            for entry in entries:
                # Since then the log may have begun anew.
                if entry.number < len(self._log) and self._log[entry.number] is entry:
                    self._log[entry.number] = entry.model_copy(update={"application_status": status})

    @contextmanager
    def in_progress(self) -> Iterator[None]:
        """Counts a request as pending while the block runs."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Counts one more request as pending."""
        with self._lock:
            self._pending += 1

    def end(self) -> None:
        """Counts one request less as pending."""
        with self._lock:
            self._pending -= 1
            self._lock.notify_all()
