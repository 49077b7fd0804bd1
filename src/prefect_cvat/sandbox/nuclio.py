"""The settings by which CVAT finds Nuclio, or a gateway that speaks for it."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from prefect_cvat.sandbox.loopback import is_loopback


class Nuclio(BaseModel):
    """Where functions are called. The fields are CVAT's settings `CVAT_NUCLIO_...`.

    Attributes:
        scheme: `http` or `https`.
        host: A loopback address: the sandbox calls nothing outside of this machine.
        port: The port.
        default_timeout: Seconds to wait for a connection, and for the next bytes of a response.
        function_namespace: Sent with each call. Users do not see it, so it can be a shared secret.
        invoke_method: `dashboard` sends all calls to the gateway; `direct` to the port of the function.

    Raises:
        ValueError: A value is out of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Literal["http", "https"] = "http"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8070
    default_timeout: Annotated[int, Field(ge=1)] = 120
    function_namespace: SecretStr = SecretStr("nuclio")
    invoke_method: Literal["dashboard", "direct"] = "dashboard"

    @model_validator(mode="after")
    def _check_host(self) -> Self:
        if not is_loopback(self.host.rpartition("@")[2]):
            raise ValueError(
                f"the sandbox calls functions on this machine only: {self.host!r} is not a loopback address"
            )
        return self

    @property
    def url(self) -> str:
        """The address of the dashboard."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def url_of(self, port: object) -> str:
        """The address of a function with a port of its own."""
        # CVAT 2.73 in a container: the host of the containers
        host = "host.docker.internal" if Path("/.dockerenv").exists() else "localhost"
        return f"http://{host}:{port}"
