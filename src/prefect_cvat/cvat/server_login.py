"""The address of a CVAT server and how to log in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import TlsError
from prefect_cvat.http.server_url import normalize_url
from prefect_cvat.messages.argument_names import argument

__all__ = ["ServerLogin"]


class ServerLogin(BaseModel):
    """The address of a CVAT server and how to log in: the fields of the block `CvatCredentials`.

    Raises:
        ValueError: The URL or the token cannot be used.
    """

    # pydantic's errors quote the input, which may be a password
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    url: str = Field(
        title="URL",
        description="The URL of the server; without a scheme, https:// is used (http:// for localhost).",
        examples=["https://cvat.example.com"],
    )
    access_token: SecretStr | None = Field(
        default=None, title="Access token", description="A personal access token; the safest way to log in."
    )
    username: str | None = Field(
        default=None,
        title="User name",
        description="User name or e-mail address, if there is no access token.",
    )
    password: SecretStr | None = Field(
        default=None, title="Password", description="The password of that user."
    )
    organization: str | None = Field(
        default=None,
        title="Organization",
        description="The short name of the organization; empty for all data of the user.",
    )
    verify_tls: bool = Field(
        default=True, title="Verify TLS", description="Whether to verify the server's certificate."
    )
    ca_bundle: str | None = Field(
        default=None,
        title="CA bundle",
        description=(
            "The path of a file of CA certificates on the machine of the run; empty for the certificates of"
            " the system."
        ),
    )

    @field_validator("url")
    @classmethod
    def _complete_url(cls, url: str) -> str:
        if "@" in url:
            raise ValueError("the url must not contain a user or password; give username and password")
        return normalize_url(url)

    @field_validator("access_token")
    @classmethod
    def _check_token(cls, token: SecretStr | None) -> SecretStr | None:
        """Refuse a token that cannot be sent in a header: the error of the HTTP library would quote it."""
        if token is None:
            return None
        value = token.get_secret_value().strip()  # often copied with a line break
        if re.fullmatch("[!-~]*", value) is None:
            raise ValueError(
                "the access_token contains spaces or non-ASCII characters; copy it from CVAT again"
            )
        return SecretStr(value)

    def get_client(self, **options: Any) -> Client:
        """Connect and log in. Use the client in a `with` statement, or close it.

        An access token is not checked here, but by the server with the first request.

        Args:
            options: Further arguments of `Client`, such as `timeout`.

        Raises:
            AuthenticationError: The server refused the user name and password.
            TransportError: The server did not answer.
            RedirectError: The server redirects to another URL.
            TlsError: The certificate could not be verified, or the CA bundle is not on this machine.
        """
        if self.verify_tls and self.ca_bundle and not Path(self.ca_bundle).exists():
            raise TlsError(
                f"the CA bundle {self.ca_bundle!r} of the credentials for {self.url} is not on this machine;"
                f" put it there, or correct {argument('ca_bundle')}"
            )
        client = Client(
            self.url,
            access_token=self.access_token or None,
            organization=self.organization,
            verify=(self.ca_bundle or True) if self.verify_tls else False,
            **options,
        )
        if self.username and self.password:
            try:
                client.login((self.username, self.password))
            except BaseException:
                client.close()
                raise
        return client
