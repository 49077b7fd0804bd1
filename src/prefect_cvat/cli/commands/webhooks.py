"""The command `webhooks`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from prefect_cvat.cli.command import command
from prefect_cvat.cli.commands.setup import CredentialsOption
from prefect_cvat.options.option_base import OnCommandLine

__all__ = ["webhooks"]


class _Receiver(CredentialsOption):
    host: Annotated[str, Field(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes any free one.")] = 8081
    ignore_sender: Annotated[
        Sequence[str],
        OnCommandLine(metavar="NAME"),
        Field(description="Ignore updates by this user, in addition to the user of the credentials."),
    ] = ()


@command
def webhooks(receiver: _Receiver) -> None:
    """Receive webhooks of CVAT, and send them to Prefect as events, which start runs.

    The receiver listens at /webhooks; /health shows how many events wait for the Prefect server. The secret
    of the signatures is PREFECT_CVAT_WEBHOOK_SECRET, or else the Prefect block secret/cvat-webhook.

    \b
    Example:
      prefect-cvat webhooks --port 8081 --credentials main
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.deployments.credentials_block import load_credentials
    from prefect_cvat.deployments.webhooks.receiver import WebhookReceiver, serve_webhooks
    from prefect_cvat.deployments.webhooks.webhook_secret import load_webhook_secret

    logging.getLogger("prefect_cvat.deployments").setLevel(logging.INFO)
    serve_webhooks(
        WebhookReceiver(
            load_credentials(receiver.credentials),
            load_webhook_secret(),
            host=receiver.host,
            port=receiver.port,
            ignored_users=receiver.ignore_sender,
        )
    )
