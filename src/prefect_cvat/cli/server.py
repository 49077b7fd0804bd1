"""The options before the command: which server, and how to log in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from prefect_cvat.cli.profiles import Profile
    from prefect_cvat.cvat.client import Client
    from prefect_cvat.cvat.server_login import ServerLogin

__all__ = ["Server", "given_server"]

_ENVIRONMENT = 1
"""The `_rank` of what the environment gives."""


@dataclass
class Server:
    """The options for the connection to the server.

    Where they contradict each other, the command line goes before the environment, and that before the
    profile `default`. The credentials of a profile are only sent to its server, and those of the environment
    only to the server that it names.
    """

    host: str | None
    port: int | None
    auth: str | None
    access_token: str | None
    organization: str | None
    insecure: bool
    ca_bundle: str | None
    profile: str | None

    @cached_property
    def url(self) -> str:
        """The server's address."""
        if self._profile is not None:
            return self._profile.url
        return self._given_url or "http://localhost"

    @contextmanager
    def connect(self) -> Iterator[Client]:
        """Connect and log in."""
        login = self.login()
        if login is None:
            raise click.BadParameter(
                "no credentials: pass --auth USER or --access-token, set CVAT_ACCESS_TOKEN, or name a profile"
                " with --profile"
            )
        with login.get_client() as client:
            yield client

    def login(self) -> ServerLogin | None:
        """The server, and the credentials for it; None if there are no credentials.

        Raises:
            UsageError: Options contradict each other.
            ValueError: The profile, or a value, cannot be used.
        """
        from pydantic import SecretStr

        from prefect_cvat.cli.profiles import Profile
        from prefect_cvat.cvat.server_login import ServerLogin

        if self.insecure and self.ca_bundle is not None:
            raise click.UsageError("--insecure and --ca-bundle contradict each other; give one of them")
        profile = self._profile or Profile(url=self.url)
        self._warn_of_visible_secrets()
        username, password, token = profile.username, profile.password, profile.access_token
        auth, given = _rank("auth"), _rank("access_token")
        own_auth = self.auth if self._may_use(auth) else None
        own_token = self.access_token if self._may_use(given) else None
        if max(auth, given) >= self._profile_rank or not (username or token):
            if own_auth is not None and (own_token is None or auth >= given):
                username, colon, text = own_auth.partition(":")
                password = SecretStr(text) if colon else password if username == profile.username else None
                token = None
            elif own_token is not None:
                username, password, token = None, None, SecretStr(own_token)
        if token is None and not username:
            return None
        if username and password is None:
            environment = os.environ if self._may_use(_ENVIRONMENT) else {}
            password = SecretStr(_find_password(self.url, username, environment.get("PASS")))
        return ServerLogin(
            url=self.url,
            username=username,
            password=password,
            access_token=token,
            organization=self.organization if self.organization is not None else profile.organization,
            verify_tls=self.ca_bundle is not None or (not self.insecure and profile.verify_tls),
            ca_bundle=self.ca_bundle or profile.ca_bundle,
        )

    @cached_property
    def _given_url(self) -> str | None:
        return _url(self.host, self.port)

    @cached_property
    def _profile(self) -> Profile | None:
        """The profile that applies."""
        from prefect_cvat.cli.profiles import read_default_profile, read_profile
        from prefect_cvat.http.server_url import server_identity

        given = self._given_url
        profile = read_default_profile() if self.profile is None else read_profile(self.profile)
        if profile is None or given is None or server_identity(given) == server_identity(profile.url):
            return profile
        host = max(_rank("server_host"), _rank("server_port"))
        if self._profile_rank == host:
            raise click.UsageError(
                f"the server {given} is not that of profile {self.profile!r}, {profile.url}; give one of"
                " --server-host and --profile"
            )
        return profile if self._profile_rank > host else None

    def _may_use(self, rank: int) -> bool:
        """Whether credentials that were given in this way are for the server.

        Those of the environment are only sent to the server that the environment names, if it names one.
        """
        from prefect_cvat.http.server_url import server_identity

        named = _url(os.environ.get("CVAT_SERVER_HOST") or None, os.environ.get("CVAT_SERVER_PORT") or None)
        return rank != _ENVIRONMENT or named is None or server_identity(named) == server_identity(self.url)

    @property
    def _profile_rank(self) -> int:
        return _rank("profile")

    def _warn_of_visible_secrets(self) -> None:
        """Warn of secrets that other users of the machine see in the list of processes."""
        from prefect_cvat.http.server_url import server_identity

        if server_identity(self.url).partition(":")[0] == "localhost":
            return
        on_command_line = ParameterSource.COMMANDLINE
        for name, is_secret in (("auth", ":" in (self.auth or "")), ("access_token", True)):
            if is_secret and _source(name) is on_command_line:
                click.secho(
                    f"other users of this machine see the secret of --{name.replace('_', '-')} in the list of"
                    " processes (ps); use CVAT_ACCESS_TOKEN, a profile, or --auth USER",
                    fg="yellow",
                    err=True,
                )


def _url(host: str | None, port: int | str | None) -> str | None:
    from prefect_cvat.http.server_url import normalize_url

    if host is None and port is None:
        return None
    host = host or "localhost"
    return normalize_url(host if port is None else f"{host.rstrip('/')}:{port}")


def given_server() -> Server:
    """The server of the options before the command."""
    server: Server = click.get_current_context().obj
    return server


def _find_password(url: str, username: str, given: str | None) -> str:
    """The password of a user: the given one, that from the keyring, or asked for."""
    if given:
        return given
    if (password := _read_keyring(url, username)) is not None:
        return password
    answer: str = click.prompt(f"Password of {username} at {url}", hide_input=True, err=True)
    return answer


def _read_keyring(url: str, username: str) -> str | None:
    """The password in the keyring of the operating system; None without the library `keyring`."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        password: str | None = keyring.get_password(url, username)
    except KeyringError as error:
        click.secho(f"the keyring cannot be read: {error}", fg="yellow", err=True)
        return None
    return password


def _source(option: str) -> ParameterSource | None:
    """Where an option before the command was given."""
    return click.get_current_context().find_root().get_parameter_source(option)


def _rank(option: str) -> int:
    """How directly an option before the command was given: 2 on the command line, 1 in the environment."""
    return {ParameterSource.COMMANDLINE: 2, ParameterSource.ENVIRONMENT: _ENVIRONMENT}.get(
        _source(option) or ParameterSource.DEFAULT, 0
    )
