"""The delays of the sandbox, and those measured on a real CVAT."""

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1000)]


class Slowness(BaseModel):
    """The delays of the sandbox; none by default. They are waiting times and take no CPU.

    Times per request, shape and megabyte occupy a server process. If none is free, requests wait in the order
    of their arrival. The sandbox itself takes a few milliseconds more per request.

    Attributes:
        chunk_seconds_per_frame: Seconds per frame to make a chunk that is not cached.
        chunk_seconds_per_megapixel: The same per 1,000,000 pixels. The two are added.
        chunk_workers: Number of chunks that are made at a time. Others wait in the order of their requests. A
            chunk is also made if its client has disconnected, and is cached.
        chunk_timeout_seconds: Seconds after which a request for a chunk that is not ready gets 429 and an
            empty body.
        chunk_retry_after_seconds: The Retry-After header of this response.
        seconds_per_request: Seconds per request to the API.
        seconds_per_written_shape: Seconds per shape in the body of a write of annotations. Tags, keyframes
            and elements of skeletons count as shapes.
        seconds_per_read_shape: Seconds per shape in the response to a read of annotations.
        seconds_per_sent_megabyte: Seconds per 1,000,000 bytes of a response.
        server_processes: Number of requests that are processed at a time.
        round_trip_seconds: Round trip time of a request and its response. Connecting takes none.
        bytes_per_second: Bandwidth of the link for bodies, in each direction, shared by all connections. None
            for no limit.

    Examples:
        >>> Slowness(round_trip_seconds=0.1).is_slow
        True
        >>> Slowness.parse("cvat-2.73", ["round_trip_seconds=0.1"]).chunk_workers
        2
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chunk_seconds_per_frame: Seconds = 0
    chunk_seconds_per_megapixel: Seconds = 0
    chunk_workers: Count = 2
    chunk_timeout_seconds: Seconds = 50
    chunk_retry_after_seconds: Annotated[int, Field(ge=0, le=3600)] = 10
    seconds_per_request: Seconds = 0
    seconds_per_written_shape: Seconds = 0
    seconds_per_read_shape: Seconds = 0
    seconds_per_sent_megabyte: Seconds = 0
    server_processes: Count = 2
    round_trip_seconds: Seconds = 0
    bytes_per_second: Annotated[float, Field(ge=1000, allow_inf_nan=False)] | None = None

    @property
    def is_slow(self) -> bool:
        """Whether there is any delay."""
        return self != Slowness(
            chunk_workers=self.chunk_workers,
            chunk_timeout_seconds=self.chunk_timeout_seconds,
            chunk_retry_after_seconds=self.chunk_retry_after_seconds,
            server_processes=self.server_processes,
        )

    @classmethod
    def parse(cls, like: str | None, settings: Iterable[str] = ()) -> Self:
        """Read the options of the command line.

        Args:
            like: A name in `LIKE`; None for a sandbox that is not slow.
            settings: Changes to it, each as `NAME=VALUE` with the name of an attribute.

        Raises:
            ValueError: A name is unknown, or a value is out of range.
        """
        if like is not None and like not in LIKE:
            raise ValueError(f"like: expected {' or '.join(LIKE)}, got {like!r}")
        values = {} if like is None else LIKE[like].model_dump()
        for setting in settings:
            name, equals, value = setting.partition("=")
            if not equals or name not in cls.model_fields:
                names = ", ".join(cls.model_fields)
                raise ValueError(f"slow: expected NAME=VALUE with one of {names}, got {setting!r}")
            values[name] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            raise ValueError(f"slow: {first['loc'][0]}={first['input']}: {first['msg']}") from None


LIKE = {
    "cvat-2.73": Slowness(
        # A chunk of 36 frames of 1920x1080 takes about 1 s. The share per frame is estimated.
        chunk_seconds_per_frame=0.002,
        chunk_seconds_per_megapixel=0.0124,
        chunk_workers=2,
        # Reading an empty job takes 51 ms alone, and 38 to 47 ms each with 2 to 8 at a time: one process.
        seconds_per_request=0.045,
        server_processes=1,
        seconds_per_written_shape=0.0004,
        seconds_per_read_shape=0.0001,
        # A cached chunk of 13 MB takes 0.4 s.
        seconds_per_sent_megabyte=0.03,
        round_trip_seconds=0.001,
    )
}
"""By name: `cvat-2.73` is CVAT 2.73 on a machine with two cores, on which the client runs, too."""
