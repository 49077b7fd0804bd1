"""The kinds of faults and their parameters."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]

When = Literal["before", "after"]


class FrozenModel(BaseModel):
    """An immutable model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(FrozenModel):
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


class Bandwidth(FrozenModel):
    """The body of the answer trickles."""

    kind: Literal["bandwidth"] = "bandwidth"
    bytes_per_second: Annotated[int, Field(gt=0)]


class Throttle(FrozenModel):
    """429 with Retry-After: an empty body for chunks, JSON for all else, as CVAT 2.73 answers.

    Attributes:
        retry_after: Seconds.
    """

    kind: Literal["throttle"] = "throttle"
    retry_after: Annotated[int, Field(ge=0)] = 10


class Status(FrozenModel):
    """The page of CVAT (500) or of the nginx in front of it (502, 503, 504).

    Attributes:
        status: Its code.
        when: `before` the application sees the request, or `after` it has committed it, with its own answer
            thrown away.
    """

    kind: Literal["status"] = "status"
    status: Literal[500, 502, 503, 504]
    when: When = "before"


class Reset(FrozenModel):
    """A TCP reset instead of an answer.

    Attributes:
        when: `before` the application sees the request, or `after` it has committed it.
    """

    kind: Literal["reset"] = "reset"
    when: When = "before"


class Truncate(FrozenModel):
    """Headers with the Content-Length of the whole body, half of its bytes, and the end of the connection."""

    kind: Literal["truncate"] = "truncate"


class Corrupt(FrozenModel):
    """Some bytes in the middle of the body are flipped; its length stays."""

    kind: Literal["corrupt"] = "corrupt"


class LateCommit(FrozenModel):
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


class ExpireToken(FrozenModel):
    """The token, access token or session of the request is deleted, as a logout does, so the answer is 401.

    Only requests that carry one count as matching; with Basic there is nothing that could expire.
    """

    kind: Literal["expire_token"] = "expire_token"


class StorePart(FrozenModel):
    """A write of annotations is answered as if all of it were stored, and only a part is.

    Only PUT and PATCH with action=create of the annotations of a job or a task count as matching. What is
    missing never was there for any reader, and its ids do not exist. Which ones these are hangs on the seed.

    Attributes:
        share: How much of the tags, shapes and tracks is stored; at least one is missing where there is any.
    """

    kind: Literal["store_part"] = "store_part"
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5


class StaleRead(FrozenModel):
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
