"""The settings by which CVAT finds Nuclio, or a gateway that speaks for it."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

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

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    scheme: Literal["http", "https"] = "http"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8070
    default_timeout: Annotated[int, Field(ge=1)] = 120
    function_namespace: SecretStr = SecretStr("nuclio")
    invoke_method: Literal["dashboard", "direct"] = "dashboard"

    @classmethod
    def parse(cls, given: Mapping[str, object]) -> Self | None:
        """Read the options of a command line.

        Args:
            given: Values by the names of the fields; None for those that were not given.

        Returns:
            The settings; None if nothing was given.

        Raises:
            ValueError: A value is out of its range; the message names the option.
        """
        values = {name: value for name, value in given.items() if value is not None}
        if not values:
            return None
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            problem = error.errors()[0]
            option = "-".join(("--nuclio", *map(str, problem["loc"]))).replace("_", "-")
            raise ValueError(f"{option}: {problem['msg'].removeprefix('Value error, ')}") from None

    @field_validator("host")
    @classmethod
    def _check_host(cls, host: str) -> str:
        name = host.rpartition("@")[2]  # a user and a password may come first
        if not is_loopback(name):
            raise ValueError(
                f"the sandbox calls functions on this machine only, and {name!r} is not a loopback address"
            )
        return host

    @property
    def url(self) -> str:
        """The address of the dashboard."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def url_of(self, port: object) -> str:
        """The address of a function with a port of its own; in a container CVAT calls its host."""
        return f"http://localhost:{port}"
