"""What the receiver of webhooks takes from the Prefect server before it starts."""

from __future__ import annotations

from prefect.blocks.system import Secret
from pydantic import SecretStr

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.prefect_server import prefect_server
from prefect_cvat.settings import Settings

__all__ = ["SECRET_BLOCK", "load_credentials", "load_webhook_secret"]

SECRET_BLOCK = "cvat-webhook"  # noqa: S105 (the name of the block, not a secret)


def load_credentials(name: str) -> CvatCredentials:
    """The block of how to log in to the CVAT server.

    Raises:
        ValueError: There is no such block, or no Prefect server is set.
        TransportError: The Prefect server does not answer.
    """
    with prefect_server():
        try:
            credentials = CvatCredentials.load(name)
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"there is no usable block cvat-credentials/{name} on the Prefect server ({reason}); make it"
                " with `prefect-cvat setup`, or name another one with --credentials"
            ) from None
    assert isinstance(credentials, CvatCredentials)  # only coroutines get a coroutine
    return credentials


def load_webhook_secret() -> SecretStr:
    """The secret that webhooks are signed with: that of the settings, or else of a block.

    Raises:
        ValueError: There is neither.
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
            " `prefect-cvat setup --webhook URL` makes the block, and tells CVAT"
        )
    return secret
