"""The options before the command: which server, and how to log in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from prefect_cvat.cvat.client import Client

__all__ = ["Server", "given_server"]


@dataclass
class Server:
    """The options for the connection to the server."""

    host: str
    port: int | None
    auth: str | None
    access_token: str | None
    organization: str | None
    insecure: bool

    @property
    def url(self) -> str:
        """The server's address."""
        from prefect_cvat.http.server_url import normalize_url

        return normalize_url(self.host if self.port is None else f"{self.host.rstrip('/')}:{self.port}")

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """Connect and log in."""
        from prefect_cvat.cvat.client import Client

        with Client(
            self.url, organization=self.organization, verify=not self.insecure, access_token=self._token()
        ) as client:
            if (login := self.login()) is not None:
                client.login(login)
            elif self._token() is None:
                raise click.BadParameter(
                    "no credentials: pass --auth USER[:PASS] or --access-token, or set CVAT_ACCESS_TOKEN"
                )
            yield client

    def login(self) -> tuple[str, str] | None:
        """The given user and password; None if the login uses a token."""
        if self.auth is None:
            return None
        user, colon, password = self.auth.partition(":")
        if not colon:
            password = os.environ.get("PASS") or click.prompt(
                f"Password of {user}", hide_input=True, err=True
            )
        return user, password

    def _token(self) -> str | None:
        return None if self.auth is not None else self.access_token


def given_server() -> Server:
    """The server of the options before the command."""
    server: Server = click.get_current_context().obj
    return server
