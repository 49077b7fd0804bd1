"""The subcommand `webhooks`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

__all__ = ["webhooks"]


def webhooks(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes any free one.")] = 8081,
    credentials: Annotated[
        str, typer.Option(metavar="NAME", help="The block of the CVAT server whose webhooks come.")
    ] = "main",
    ignore_sender: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Ignore updates by this user, besides that of the credentials; may be repeated.",
        ),
    ] = None,
) -> None:
    """Receive CVAT's webhooks, and emit them as events of Prefect, which start runs.

    They are taken at /webhooks; /health tells how many wait for the Prefect server. The secret that they are
    signed with is PREFECT_CVAT_WEBHOOK_SECRET, or else the Prefect block secret/cvat-webhook.

    \b
    Example:
      prefect-cvat webhooks --port 8081 --credentials main
    """  # noqa: D301 (\b keeps click from joining the lines)
    from prefect_cvat.deployments.credentials_block import load_credentials
    from prefect_cvat.deployments.webhooks.receiver import WebhookReceiver, serve_webhooks
    from prefect_cvat.deployments.webhooks.webhook_secret import load_webhook_secret

    logging.getLogger("prefect_cvat.deployments").setLevel(logging.INFO)
    receiver = WebhookReceiver(
        load_credentials(credentials),
        load_webhook_secret(),
        host=host,
        port=port,
        ignored_users=ignore_sender or (),
    )
    serve_webhooks(receiver)
