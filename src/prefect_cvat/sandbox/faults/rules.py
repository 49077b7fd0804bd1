"""What may go wrong, on which requests, and the decision for each: no clock, no input, no output."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from prefect_cvat.sandbox.faults.kinds import (
    Bandwidth,
    Corrupt,
    ExpireToken,
    Fault,
    FrozenModel,
    LateCommit,
    Latency,
    Reset,
    StaleRead,
    Status,
    StorePart,
    Truncate,
)

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


_ANNOTATIONS = re.compile(r"^/api/(jobs|tasks)/[^/]+/annotations/?$")
_JOB = re.compile(r"^/api/jobs/[^/]+$")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What rules look at in a request."""

    method: str
    path: str
    query: str = ""
    action: str | None = None
    carries_token: bool = False

    def can_meet(self, fault: Fault) -> bool:
        """Whether a fault of this kind is possible for the request."""
        annotations = _ANNOTATIONS.search(self.path) is not None
        match fault:
            case ExpireToken():
                return self.carries_token
            case StorePart():
                is_write = self.method == "PUT" or (self.method == "PATCH" and self.action == "create")
                return annotations and is_write
            case StaleRead():
                return self.method == "GET" and (annotations or _JOB.search(self.path) is not None)
            case _:
                return True


class Rule(FrozenModel):
    """A fault, and which requests meet it.

    Attributes:
        fault: What happens.
        methods: None named is every method.
        path: A regular expression that is searched for in the path, which begins with /api/.
        query: A regular expression that is searched for in the query string as it was sent.
        actions: Values of ?action=; none named is any request, also without it.
        probability: The chance that a matching request meets the fault.
        after: So many matching requests pass first.
        times: At most so many meet the fault; None for no limit.
        per_path: Whether `after`, `times` and the chances count by path and query instead of over all
            matching requests: the first n requests of each chunk, say.
    """

    fault: Fault
    methods: tuple[Method, ...] = ()
    path: str = ""
    query: str = ""
    actions: tuple[Literal["create", "update", "delete"], ...] = ()
    probability: Annotated[float, Field(ge=0, le=1)] = 1
    after: Annotated[int, Field(ge=0)] = 0
    times: Annotated[int, Field(ge=1)] | None = None
    per_path: bool = False

    @field_validator("path", "query")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value

    def matches(self, asked: Asked) -> bool:
        """Whether the rule is about this request."""
        return (
            (not self.methods or asked.method in self.methods)
            and (not self.actions or asked.action in self.actions)
            and asked.can_meet(self.fault)
            and re.search(self.path, asked.path) is not None
            and re.search(self.query, asked.query) is not None
        )


class FaultPlan(FrozenModel):
    """The rules that are in force, and the seed of their chances."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Injection:
    """A fault that a request meets.

    Attributes:
        rule: The index of its rule.
        fault: What happens.
        chance: A number from 0 to 1, drawn for whatever the fault leaves open.
    """

    rule: int
    fault: Fault
    chance: float

    @property
    def when(self) -> Literal["before", "after", "late"]:
        """Where the fault lies: before the application commits, after it, or with that still to come."""
        match self.fault:
            case Latency(when=when) | Status(when=when) | Reset(when=when):
                return when
            case Bandwidth() | Truncate() | Corrupt() | StorePart():
                return "after"
            case LateCommit():
                return "late"
            case _:
                return "before"


class Decider:
    """Decides what each request meets.

    A decision follows from the seed, the rule's index and how many requests have matched the rule before (of
    the same path and query, where the rule counts so), and from nothing else.

    Latencies add up and the slowest bandwidth holds, beside whatever else happens. Of the other faults a
    request meets one: that of the first rule that has one for it. The later rules count the request as
    matching, not as one of their `times`.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._matched: Counter[tuple[int, str]] = Counter()
        self._injected: Counter[tuple[int, str]] = Counter()

    def decide(self, asked: Asked) -> tuple[Injection, ...]:
        """The faults that this request meets, in the order of the rules."""
        injections: list[Injection] = []
        for index, rule in enumerate(self.plan.rules):
            if not rule.matches(asked):
                continue
            address = f"{asked.path}?{asked.query}" if rule.per_path else ""
            earlier = self._matched[index, address]
            self._matched[index, address] += 1
            if earlier < rule.after or (rule.times and self._injected[index, address] >= rule.times):
                continue
            # A text as the seed gives the same numbers in every process, whatever its hashing.
            draw = random.Random(f"{self.plan.seed}/{index}/{address}/{earlier}")  # noqa: S311
            if draw.random() >= rule.probability:
                continue
            if _stands_alone(rule.fault) and any(_stands_alone(one.fault) for one in injections):
                continue
            self._injected[index, address] += 1
            injections.append(Injection(rule=index, fault=rule.fault, chance=draw.random()))
        return tuple(injections)


def _stands_alone(fault: Fault) -> bool:
    return not isinstance(fault, Latency | Bandwidth)
