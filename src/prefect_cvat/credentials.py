"""The Prefect block that holds how to reach and log in to a CVAT server."""

from __future__ import annotations

from typing import Any

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, model_validator

from prefect_cvat.client import Client

__all__ = ["CvatCredentials"]


class CvatCredentials(Block):
    """How to reach and log in to a CVAT server.

    Give an access token, or a user name and a password. Secrets are stored encrypted by Prefect, and
    a run only refers to the block.

    Example:
        ```python
        from prefect_cvat.credentials import CvatCredentials

        CvatCredentials(url="https://cvat.example.com", access_token="...").save("BLOCK_NAME")

        credentials = CvatCredentials.load("BLOCK_NAME")
        client = credentials.get_client()
        ```
    """

    _block_type_name = "CVAT Credentials"
    _block_type_slug = "cvat-credentials"
    _description = "How to reach and log in to a CVAT server."
    _documentation_url = "https://docs.cvat.ai/docs/api_sdk/"  # type: ignore[assignment]

    url: str = Field(title="URL", description="The server's address.", examples=["https://cvat.example.com"])
    access_token: SecretStr | None = Field(
        default=None, title="Access token", description="A personal access token; the safest way to log in."
    )
    username: str | None = Field(default=None, title="User name", description="User name or e-mail address.")
    password: SecretStr | None = Field(default=None, title="Password", description="That user's password.")
    organization: str | None = Field(
        default=None, title="Organization", description="The short name of the organization to work in."
    )
    verify_tls: bool = Field(
        default=True, title="Verify TLS", description="Whether to verify the server's certificate."
    )
    ca_bundle: str | None = Field(
        default=None,
        title="CA bundle",
        description="Path of the certificates to verify the server's with, where the system's do not do.",
    )

    @model_validator(mode="after")
    def _check_credentials(self) -> CvatCredentials:
        if self.access_token is None and (self.username is None or self.password is None):
            raise ValueError("give an access_token, or both username and password")
        return self

    def get_client(self, **options: Any) -> Client:
        """Connect and log in.

        Args:
            options: Further arguments of `Client`, such as `timeout`.

        Raises:
            AuthenticationError: The server refused the user name and password.
        """
        client = Client(
            self.url,
            access_token=self.access_token,
            organization=self.organization,
            verify=(self.ca_bundle or True) if self.verify_tls else False,
            **options,
        )
        if self.access_token is None:
            assert self.username is not None
            assert self.password is not None
            client.login((self.username, self.password))
        return client
