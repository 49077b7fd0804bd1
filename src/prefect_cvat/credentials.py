"""The Prefect block with the URL of a CVAT server and the credentials to log in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from pydantic import HttpUrl, model_validator

from prefect_cvat.cvat.client import Client
from prefect_cvat.cvat.server_login import ServerLogin

__all__ = ["CvatCredentials"]


class CvatCredentials(ServerLogin, Block):
    """The URL of a CVAT server and the credentials to log in.

    Give an access token, or a user name and a password. Prefect stores them encrypted, and a run stores only
    a reference to the block.

    Example:
        ```python
        from prefect_cvat.credentials import CvatCredentials

        CvatCredentials(url="https://cvat.example.com", access_token="...").save("BLOCK_NAME")

        credentials = CvatCredentials.load("BLOCK_NAME")
        with credentials.get_client() as client:
            print(client.user().username)
        ```
    """

    _block_type_name = "CVAT Credentials"
    _block_type_slug = "cvat-credentials"
    _description = "The URL of a CVAT server and the credentials to log in."
    _documentation_url = HttpUrl("https://docs.cvat.ai/docs/api_sdk/")

    @model_validator(mode="after")
    def _check_names(self) -> CvatCredentials:
        """Refuse unknown fields: Prefect would store them, such as a misspelt `acess_token`, unencrypted."""
        unknown = sorted(set(self.model_extra or ()) - {"block_type_slug"})  # which Prefect adds
        if unknown:
            fields = ", ".join(type(self).model_fields)
            raise ValueError(f"there is no field {', '.join(unknown)}; the fields are {fields}")
        return self

    @model_validator(mode="after")
    def _check_login(self) -> CvatCredentials:
        if self.access_token and (self.username or self.password):
            raise ValueError(
                "both an access_token and a username or password are given; remove one of the two"
            )
        if not self.access_token and not (self.username and self.password):
            raise ValueError("give an access_token, or both username and password")
        return self

    def get_client(self, **options: Any) -> Client:
        """Connect and log in. Use the client in a `with` statement, or close it.

        An access token is not checked here, but by the server with the first request. Within a flow run, each
        request that is retried is logged.

        Args:
            options: Further arguments of `Client`, such as `timeout`.

        Raises:
            AuthenticationError: The server refused the user name and password.
            TransportError: The server did not answer.
            RedirectError: The server redirects to another URL.
            TlsError: The certificate could not be verified, or the CA bundle is not on this machine.
        """
        with suppress(MissingContextError):  # not in a flow run
            options.setdefault("on_retry", get_run_logger().warning)
        return super().get_client(**options)
