"""Reads the secret that CVAT signs webhooks with."""

from __future__ import annotations

from prefect.blocks.system import Secret
from pydantic import SecretStr

from prefect_cvat.deployments.prefect_server import prefect_server
from prefect_cvat.settings import Settings

__all__ = ["SECRET_BLOCK", "load_webhook_secret"]

SECRET_BLOCK = "cvat-webhook"  # noqa: S105 (the name of the block, not a secret)


def load_webhook_secret() -> SecretStr:
    """The secret of the settings, or else that of the Prefect block `secret/cvat-webhook`.

    Raises:
        ValueError: Neither exists.
        TransportError: The Prefect server does not answer.
    """
    secret = Settings().webhook_secret
    if secret is None:
        with prefect_server():
            try:
                block = Secret.load(SECRET_BLOCK)
            except ValueError:
                block = None
        secret = SecretStr(str(block.get()) if isinstance(block, Secret) else "")
    if not secret.get_secret_value():
        raise ValueError(
            "there is no secret to check webhooks with: neither the environment variable"
            f" PREFECT_CVAT_WEBHOOK_SECRET nor the Prefect block secret/{SECRET_BLOCK};"
            " `prefect-cvat setup --webhook URL` creates the block, and registers the webhook in CVAT"
        )
    return secret
