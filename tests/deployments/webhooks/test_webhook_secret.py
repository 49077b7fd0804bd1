"""The webhook secret from the Prefect server, and the error without it."""

import contextlib

import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE, temporary_settings
from pydantic import SecretStr

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.deployments.credentials_block import load_credentials
from prefect_cvat.deployments.webhooks.webhook_secret import load_webhook_secret
from prefect_cvat.exceptions import TransportError

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

VARIABLE = "PREFECT_CVAT_WEBHOOK_SECRET"


@pytest.fixture(autouse=True)
def no_secret(prefect_server, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    delete_block()
    yield
    delete_block()


def delete_block():
    with contextlib.suppress(ValueError):  # there is none
        Secret.delete("cvat-webhook")


def test_reads_secret_of_block():
    Secret(value="that of the block").save("cvat-webhook")
    assert load_webhook_secret() == SecretStr("that of the block")


def test_secret_of_settings_precedes_block(monkeypatch):
    Secret(value="that of the block").save("cvat-webhook")
    monkeypatch.setenv(VARIABLE, "that of the settings")
    assert load_webhook_secret() == SecretStr("that of the settings")


def test_secret_of_settings_needs_no_prefect_server(monkeypatch):
    monkeypatch.setenv(VARIABLE, "that of the settings")
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert load_webhook_secret() == SecretStr("that of the settings")


@pytest.mark.parametrize("value", [None, ""], ids=["no block", "an empty block"])
def test_missing_secret_error_names_setting_block_and_command(value):
    if value is not None:
        Secret(value=value).save("cvat-webhook")
    with pytest.raises(ValueError, match="neither the environment variable") as error:
        load_webhook_secret()
    for name in (VARIABLE, "secret/cvat-webhook", "prefect-cvat setup --webhook"):
        assert name in str(error.value)


def test_loads_credentials_of_block(credentials):
    credentials.save("blocks-test", overwrite=True)
    assert load_credentials("blocks-test") == CvatCredentials.load("blocks-test")


def test_error_names_missing_block():
    with pytest.raises(ValueError, match=r"no usable block cvat-credentials/nobody.*prefect-cvat setup"):
        load_credentials("nobody")


@pytest.mark.parametrize("load", [lambda: load_credentials("main"), load_webhook_secret])
def test_error_names_prefect_server_that_does_not_answer(load):
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(TransportError, match="Prefect server at http://127.0.0.1:9/api does not answer"),
    ):
        load()


def test_starts_no_prefect_server_without_its_url():
    with (
        temporary_settings({PREFECT_API_URL: None, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: True}),
        pytest.raises(ValueError, match="PREFECT_API_URL is not set"),
    ):
        load_credentials("main")
