"""The command `sandbox`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from prefect_cvat.cli.command import command
from prefect_cvat.options.option_base import OnCommandLine, OptionModel

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


class _Nuclio(OptionModel):
    group: ClassVar[str] = "Functions for annotators"

    nuclio_host: Annotated[
        str | None,
        OnCommandLine(metavar="HOST"),
        Field(
            description="Call functions at this address, as CVAT calls Nuclio; a loopback address. By default"
            " 127.0.0.1, if another option of this group is given."
        ),
    ] = None
    nuclio_port: Annotated[
        int | None,
        OnCommandLine(metavar="PORT"),
        Field(ge=1, le=65535, description="Its port; by default 8070."),
    ] = None
    nuclio_scheme: Annotated[
        str | None, OnCommandLine(metavar="SCHEME"), Field(description="http (by default) or https.")
    ] = None
    nuclio_default_timeout: Annotated[
        int | None,
        OnCommandLine(metavar="SECONDS"),
        Field(ge=1, description="Time limit of a call, in seconds; by default 120."),
    ] = None
    nuclio_function_namespace: Annotated[
        str | None,
        OnCommandLine(metavar="WORD"),
        Field(
            repr=False,
            description="The shared secret of the gateway; by default nuclio. It may also be in the"
            " environment variable CVAT_NUCLIO_FUNCTION_NAMESPACE.",
        ),
    ] = None
    nuclio_invoke_method: Annotated[
        str | None,
        OnCommandLine(metavar="METHOD"),
        Field(description="dashboard (by default), or direct for a port for each function."),
    ] = None

    @property
    def given(self) -> dict[str, object]:
        """The given values by the names that CVAT has for them."""
        values: dict[str, object] = {
            name.removeprefix("nuclio_"): getattr(self, name) for name in type(self).model_fields
        }
        namespace = os.environ.get("CVAT_NUCLIO_FUNCTION_NAMESPACE")
        if namespace and values["function_namespace"] is None and any(values.values()):
            values["function_namespace"] = namespace
        return values


@command
def sandbox(server: _Sandbox, nuclio: _Nuclio) -> None:
    """Run a local server with a part of CVAT's API, to try prefect-cvat without CVAT.

    \b
    Example:
      prefect-cvat sandbox --port 8080 --data ./sandbox
      prefect-cvat sandbox --like cvat-2.73 --slow round_trip_seconds=0.1
      prefect-cvat sandbox --nuclio-host 127.0.0.1 --nuclio-port 8070
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.sandbox import Nuclio, Slowness, serve

    serve(
        data=server.data,
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        slowness=Slowness.parse(server.like, server.slow),
        nuclio=Nuclio.parse(nuclio.given),
    )
