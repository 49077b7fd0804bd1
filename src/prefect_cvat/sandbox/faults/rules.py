"""Which requests get which faults. Pure: no clock, no input or output."""

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
class RequestFacts:
    """The facts of a request that rules look at."""

    method: str
    path: str
    query: str = ""
    action: str | None = None
    has_expiring_credentials: bool = False

    def is_possible_for(self, fault: Fault) -> bool:
        """Whether a fault of this kind can happen to the request."""
        annotations = _ANNOTATIONS.search(self.path) is not None
        match fault:
            case ExpireToken():
                return self.has_expiring_credentials
            case StorePart():
                is_write = self.method == "PUT" or (self.method == "PATCH" and self.action == "create")
                return annotations and is_write
            case StaleRead():
                return self.method == "GET" and (annotations or _JOB.search(self.path) is not None)
            case _:
                return True


class Rule(FrozenModel):
    """A fault and the requests that get it.

    Attributes:
        fault: The fault.
        methods: HTTP methods; empty for all.
        path: Regular expression that is searched for in the path, which begins with /api/.
        query: Regular expression that is searched for in the raw query string.
        actions: Values of the query parameter `action`; empty for all requests.
        probability: Probability that a matching request gets the fault.
        after: Number of matching requests that pass first.
        times: Maximum number of requests that get the fault; None for no limit.
        per_path: Whether `after`, `times` and `probability` count separately for each path and query, such as
            for each chunk.
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
            raise ValueError(f"{value!r} is not a regular expression: {error}") from error
        return value

    def matches(self, request: RequestFacts) -> bool:
        """Whether the rule applies to the request."""
        return (
            (not self.methods or request.method in self.methods)
            and (not self.actions or request.action in self.actions)
            and request.is_possible_for(self.fault)
            and re.search(self.path, request.path) is not None
            and re.search(self.query, request.query) is not None
        )


class FaultPlan(FrozenModel):
    """The active rules and the seed of their random numbers."""

    seed: int = 0
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Injection:
    """A fault that a request gets.

    Attributes:
        rule: Index of the rule.
        fault: The fault.
        chance: Random number from 0 to 1 for the choices that the fault leaves open.
    """

    rule: int
    fault: Fault
    chance: float

    @property
    def when(self) -> Literal["before", "after", "late"]:
        """Whether the fault is before or after the commit; `late` if the response is before the commit."""
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
    """Decides which faults each request gets.

    A decision depends only on the seed, the index of the rule, and how many requests have matched the rule
    before (with `per_path`, requests of the same path and query).

    Latencies add up and the lowest bandwidth applies. Of the other faults a request gets only that of the
    first rule. Later rules count the request as matching, but not as one of their `times`.
    """

    def __init__(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._matched: Counter[tuple[int, str]] = Counter()
        self._injected: Counter[tuple[int, str]] = Counter()

    def decide(self, request: RequestFacts) -> tuple[Injection, ...]:
        """The faults that the request gets, in the order of the rules."""
        injections: list[Injection] = []
        for index, rule in enumerate(self.plan.rules):
            if not rule.matches(request):
                continue
            address = f"{request.path}?{request.query}" if rule.per_path else ""
            earlier = self._matched[index, address]
            self._matched[index, address] += 1
            if earlier < rule.after or (rule.times and self._injected[index, address] >= rule.times):
                continue
            # A string as the seed gives the same numbers in every process.
            draw = random.Random(f"{self.plan.seed}/{index}/{address}/{earlier}")  # noqa: S311
            if draw.random() >= rule.probability:
                continue
            if _is_exclusive(rule.fault) and any(_is_exclusive(one.fault) for one in injections):
                continue
            self._injected[index, address] += 1
            injections.append(Injection(rule=index, fault=rule.fault, chance=draw.random()))
        return tuple(injections)


def _is_exclusive(fault: Fault) -> bool:
    return not isinstance(fault, Latency | Bandwidth)
