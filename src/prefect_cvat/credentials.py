"""The Prefect block with the URL of a CVAT server and the credentials to log in."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

from prefect_cvat.cvat.client import Client
from prefect_cvat.exceptions import TlsError
from prefect_cvat.http.server_url import normalize_url

__all__ = ["CvatCredentials"]


class CvatCredentials(Block):
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

    # pydantic's errors quote the input, which may be a password
    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "CVAT Credentials"
    _block_type_slug = "cvat-credentials"
    _description = "The URL of a CVAT server and the credentials to log in."
    _documentation_url = HttpUrl("https://docs.cvat.ai/docs/api_sdk/")
    # CVAT's logo, from its repository; at a commit, since a branch may move it
    _logo_url = HttpUrl(
        "https://raw.githubusercontent.com/cvat-ai/cvat/189d0a314a42486b8fc2922d5a24caf4b77d6487"
        "/site/static/favicons/pwa-192x192.png"
    )

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
        if self.verify_tls and self.ca_bundle and not Path(self.ca_bundle).exists():
            raise TlsError(
                f"the CA bundle {self.ca_bundle!r} of the credentials for {self.url} is not on this machine;"
                " put it there, or correct ca_bundle"
            )
        with suppress(MissingContextError):  # not in a flow run
            options.setdefault("on_retry", get_run_logger().warning)
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
