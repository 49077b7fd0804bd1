"""The official SDK's client on a sandbox."""

from cvat_sdk import Client, make_client

from prefect_cvat.sandbox import Sandbox


def connect(server: Sandbox) -> Client:
    client = make_client(server.url, credentials=(server.user, server.password))
    client.config.status_check_period = 0.02
    return client
