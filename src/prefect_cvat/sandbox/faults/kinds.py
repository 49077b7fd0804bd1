"""The kinds of faults and their parameters."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]

When = Literal["before", "after"]


class FrozenModel(BaseModel):
    """An immutable model that refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(FrozenModel):
    """The request waits before the application handles it, or the response waits afterwards.

    Attributes:
        seconds: Minimum delay.
        jitter: Maximum additional delay in seconds, drawn from the seed.
        when: `before` or `after` the application handles the request.
    """

    kind: Literal["latency"] = "latency"
    seconds: Seconds
    jitter: Seconds = 0
    when: When = "before"


class Bandwidth(FrozenModel):
    """The body of the response is sent slowly."""

    kind: Literal["bandwidth"] = "bandwidth"
    bytes_per_second: Annotated[int, Field(gt=0)]


class Throttle(FrozenModel):
    """429 with Retry-After, as in CVAT 2.73: with an empty body for chunks, with JSON for the rest.

    Attributes:
        retry_after: Value of the header in seconds.
    """

    kind: Literal["throttle"] = "throttle"
    retry_after: Annotated[int, Field(ge=0)] = 10


class Status(FrozenModel):
    """The error page of CVAT (500) or of the nginx in front of it (502, 503, 504).

    Attributes:
        status: The status code.
        when: `before` the application handles the request, or `after` it has committed it; then its response
            is discarded.
    """

    kind: Literal["status"] = "status"
    status: Literal[500, 502, 503, 504]
    when: When = "before"


class Reset(FrozenModel):
    """A TCP reset instead of a response.

    Attributes:
        when: `before` the application handles the request, or `after` it has committed it.
    """

    kind: Literal["reset"] = "reset"
    when: When = "before"


class Truncate(FrozenModel):
    """The connection ends after half of the body. Content-Length is that of the whole body."""

    kind: Literal["truncate"] = "truncate"


class Corrupt(FrozenModel):
    """16 bytes in the middle of the body are inverted."""

    kind: Literal["corrupt"] = "corrupt"


class LateCommit(FrozenModel):
    """The client gets an error, and the application handles the request afterwards.

    Attributes:
        answer: What the client gets: 504, or "reset" for a TCP reset.
        seconds: Seconds until the client gets it.
        delay: Seconds from then until the application handles the request.
    """

    kind: Literal["late_commit"] = "late_commit"
    answer: Literal[504, "reset"] = 504
    seconds: Seconds = 0
    delay: Seconds = 1


class ExpireToken(FrozenModel):
    """The token, access token or session of the request is deleted, so the response is 401.

    Only requests with one of these match. Basic credentials cannot expire.
    """

    kind: Literal["expire_token"] = "expire_token"


class StorePart(FrozenModel):
    """A write of annotations is answered as if all were stored, but only a part is stored.

    Only PUT, and PATCH with action=create, of the annotations of a job or a task match. No reader ever sees
    the dropped annotations. The seed determines which are dropped.

    Attributes:
        share: Share of the tags, shapes and tracks that is stored; at least one is dropped.
    """

    kind: Literal["store_part"] = "store_part"
    share: Annotated[float, Field(ge=0, lt=1)] = 0.5


class StaleRead(FrozenModel):
    """A read returns an old state, as from a database replica that lags.

    Only GET of the annotations of a job or a task, and of jobs/ID, match. States from before the rule was set
    are not available: until `seconds` have passed, reads return the state at that time.

    Attributes:
        seconds: Age of the returned state; up to 2 % less if the database changes often.
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
