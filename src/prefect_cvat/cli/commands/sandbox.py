"""The command `sandbox`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from prefect_cvat.cli.command import command
from prefect_cvat.options.option_model import OnCommandLine, OptionModel

__all__ = ["sandbox"]


class _Sandbox(OptionModel):
    host: Annotated[str, Field(description="Address to listen on; it must be a loopback address.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes any free one.")] = 8080
    data: Annotated[
        Path | None,
        OnCommandLine(metavar="DIR"),
        Field(description="Folder of its data; by default a temporary folder."),
    ] = None
    user: Annotated[str, Field(description="Name of its user.")] = "admin"
    password: Annotated[str, Field(description="Password of its user.")] = "admin"  # noqa: S105
    like: Annotated[
        str | None,
        OnCommandLine(metavar="NAME"),
        Field(description="Be as slow as a real server: cvat-2.73. By default it is not slowed down."),
    ] = None
    slow: Annotated[
        tuple[str, ...],
        OnCommandLine(metavar="NAME=VALUE"),
        Field(description="Set one delay, such as round_trip_seconds=0.1."),
    ] = ()


@command
def sandbox(server: _Sandbox) -> None:
    """Run a local server with a part of CVAT's API, to try prefect-cvat without CVAT.

    \b
    Example:
      prefect-cvat sandbox --port 8080 --data ./sandbox
      prefect-cvat sandbox --like cvat-2.73 --slow round_trip_seconds=0.1
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.sandbox import Slowness, serve

    serve(
        data=server.data,
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        slowness=Slowness.parse(server.like, server.slow),
    )
