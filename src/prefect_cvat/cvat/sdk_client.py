"""Takes over the address, organization and credentials of a client of `cvat_sdk`."""

from __future__ import annotations

import sys
from typing import Any, Protocol, TypeAlias

import requests
from requests.auth import AuthBase

from prefect_cvat.cvat.client import Client

__all__ = ["AnyClient", "SdkClient", "own_client"]


class SdkClient(Protocol):
    """A `cvat_sdk.Client`, such as `cvat_sdk.make_client` makes; the SDK need not be installed."""

    api_map: Any
    api_client: Any
    organization_slug: Any


AnyClient: TypeAlias = Client | SdkClient
"""Our client, or one of `cvat_sdk`."""


def own_client(client: AnyClient) -> Client:
    """Make a client of ours with address, organization, credentials and TLS settings of one of `cvat_sdk`.

    The credentials are read with each request, so a later `login` of that client counts, too.

    Args:
        client: A client of `cvat_sdk`; one of ours is returned as it is.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(client, Client):
        return client
    sdk = sys.modules.get("cvat_sdk.core.client")
    if sdk is None or not isinstance(client, sdk.Client):
        raise TypeError(
            f"client is of type {type(client).__name__!r}; give a prefect_cvat.Client or a cvat_sdk.Client"
        )
    settings = client.api_client.configuration
    own = Client(
        client.api_map.host,
        access_token=settings.access_token,
        organization=client.organization_slug,
        verify=(settings.ssl_ca_cert or True) if settings.verify_ssl else False,
    )
    if settings.access_token is None:
        own.use_auth(_SdkAuth(client.api_client))
    return own


class _SdkAuth(AuthBase):
    """Sends what a client of `cvat_sdk` sends: after a log-in, a session and its CSRF token."""

    def __init__(self, api_client: Any) -> None:
        self._api_client = api_client

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the credentials."""
        headers = {}
        if cookie := self._api_client.get_common_headers().get("Cookie"):
            headers["Cookie"] = cookie
        self._api_client.update_params_for_auth(headers, [], request_host=self._api_client.configuration.host)
        request.headers.update(headers)
        return request
