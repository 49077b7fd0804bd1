"""What may go wrong, on which requests, and the decision for each: no clock, no input, no output."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
When = Literal["before", "after"]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(_Model):
    """The request waits before the application sees it, or the answer waits after it is committed.

    Attributes:
        seconds: The least wait.
        jitter: Up to so many seconds more, drawn from the seed.
        when: `before` or `after` the application has carried the request out.
    """

    kind: Literal["latency"] = "latency"
    seconds: Seconds
    jitter: Seconds = 0
    when: When = "before"


class Bandwidth(_Model):
    """The body of the answer trickles."""

    kind: Literal["bandwidth"] = "bandwidth"
    bytes_per_second: Annotated[int, Field(gt=0)]


class Throttle(_Model):
    """429 with Retry-After: an empty body for chunks, JSON for all else, as CVAT 2.73 answers.

    Attributes:
        retry_after: Seconds.
    """

    kind: Literal["throttle"] = "throttle"
    retry_after: Annotated[int, Field(ge=0)] = 10


class Status(_Model):
    """The page of CVAT (500) or of the nginx in front of it (502, 503, 504).

    Attributes:
        status: Its code.
        when: `before` the application sees the request, or `after` it has committed it, with its own answer
            thrown away.
    """

    kind: Literal["status"] = "status"
    status: Literal[500, 502, 503, 504]
    when: When = "before"


class Reset(_Model):
    """A TCP reset instead of an answer.

    Attributes:
        when: `before` the application sees the request, or `after` it has committed it.
    """

    kind: Literal["reset"] = "reset"
    when: When = "before"


class Truncate(_Model):
    """Headers with the Content-Length of the whole body, half of its bytes, and the end of the connection."""

    kind: Literal["truncate"] = "truncate"


class Corrupt(_Model):
    """Some bytes in the middle of the body are flipped; its length stays."""

    kind: Literal["corrupt"] = "corrupt"


class LateCommit(_Model):
    """The client is told that it failed, and the application carries the request out after that.

    Attributes:
        answer: What the client gets: 504 or "reset".
        seconds: How long it waits for that.
        delay: Seconds from then until the application is handed the request.
    """

    kind: Literal["late_commit"] = "late_commit"
    answer: Literal[504, "reset"] = 504
    seconds: Seconds = 0
    delay: Seconds = 1


class ExpireToken(_Model):
    """The token, access token or session of the request is deleted, as a logout does, so the answer is 401.

    Only requests that carry one count as matching; with Basic there is nothing that could expire.
    """

    kind: Literal["expire_token"] = "expire_token"


class StorePart(_Model):
    """A write of annotations is answered as if all of it were stored, and only a part is.

    Only PUT and PATCH with action=create of the annotations of a job or a task count as matching. What is
    missing never was there for any reader, and its ids do not exist. Which ones these are hangs on the seed.

    Attributes:
        share: How much of the tags, shapes and tracks is stored; at least one is missing where there is any.
    """

    kind: Literal["store_part"] = "store_part"
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5


class StaleRead(_Model):
    """A read is answered by a replica that lags behind.

    Only GET of the annotations of a job or a task and of jobs/ID, with its `updated_date`, count as matching.
    What was before the rule was set is not remembered: until its time has passed, the answer is what there
    was then.

    Attributes:
        seconds: How old the state is that is answered; up to 2 % less where it changes often.
    """

    kind: Literal["stale_read"] = "stale_read"
    seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


Fault = Annotated[
    Latency
    | Bandwidth
    | Throttle
    | Status
    | Reset
    | Truncate
    | Corrupt
    | LateCommit
    | ExpireToken
    | StorePart
    | StaleRead,
    Field(discriminator="kind"),
]
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


class Rule(_Model):
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


class FaultPlan(_Model):
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
