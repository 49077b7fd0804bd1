"""The credentials block: fields, validation, and hidden secrets."""

import inspect
import logging
import subprocess
import sys
import traceback
import uuid

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from ports import free_port
from prefect_cvat import Client, credentials
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.exceptions import AuthenticationError, OrganizationError, TlsError, TransportError
from prefect_cvat.http.retry_policy import RetryPolicy

ADDRESS = "https://cvat.example.com"
SECRET = "correct-horse-battery"
BLOCKS = [
    value
    for value in vars(credentials).values()
    if inspect.isclass(value) and issubclass(value, Block) and value is not Block
]


@pytest.fixture
def token(client) -> str:
    return client._transport.json("POST", "/api/auth/access_tokens", body={"name": "block"})["value"]


class TestPrefectsStandards(BlockStandardTestSuite):
    @pytest.fixture(params=BLOCKS)
    def block(self, request):
        return request.param

    def test_has_a_valid_image(self, block):
        """It has none: Prefect takes only addresses, and where there is no internet it would show a broken image."""
        assert block._logo_url is None


def test_block_is_tested_for_prefect_standards():
    assert CvatCredentials in BLOCKS


def test_prefect_discovers_the_block_by_the_entry_point():
    code = (
        "import sys\n"
        "from prefect.blocks.core import Block\n"
        "from prefect.plugins import load_prefect_collections\n"
        "load_prefect_collections()\n"
        "block = Block.get_block_class_from_key('cvat-credentials')\n"
        "assert block is sys.modules['prefect_cvat.credentials'].CvatCredentials\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_secret_fields_have_no_defaults():
    schema = CvatCredentials.model_json_schema()
    assert schema["secret_fields"] == ["access_token", "password"]
    assert schema["required"] == ["url"]
    defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    assert {name for name, default in defaults.items() if default is not None} == {"verify_tls"}


@pytest.mark.parametrize(
    "given",
    [
        {"access_token": SECRET},
        {"username": "user", "password": SECRET},
        {"username": "user", "password": SECRET, "access_token": ""},
        {"access_token": SECRET, "username": "", "password": ""},
    ],
    ids=["token", "password", "password, token left empty", "token, user and password left empty"],
)
def test_accepts_one_kind_of_login_and_shows_no_secret(given):
    block = CvatCredentials(url=ADDRESS, **given)
    for text in (repr(block), str(block), block.model_dump_json(), f"{block.model_dump()}"):
        assert SECRET not in text
        assert ADDRESS in text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give an access_token, or both username and password"),
        ({"username": "user"}, "give an access_token, or both"),
        ({"password": SECRET}, "give an access_token, or both"),
        ({"username": "", "password": SECRET}, "give an access_token, or both"),
        ({"access_token": " "}, "give an access_token, or both"),
        (
            {"access_token": SECRET, "username": "user", "password": "p"},
            "both an access_token and a username or password",
        ),
        ({"access_token": "t", "password": SECRET}, "both an access_token and a username or password"),
        ({"access_token": f"{SECRET} more"}, "spaces or non-ASCII characters; copy it"),
        ({"access_token": f"{SECRET}…"}, "spaces or non-ASCII characters; copy it"),
        ({"access_token": [SECRET]}, "valid string"),
        ({"access_token": "t", "token": SECRET}, "no field token; the fields are url, access_token, "),
        ({"access_token": "t", "organisation": "lab"}, "no field organisation; the fields are"),
        ({"access_token": "t", "url": f"https://user:{SECRET}@cvat.example.com"}, "url must not contain"),
        ({"access_token": "t", "url": f"ftp://user:{SECRET}@cvat.example.com"}, "url must not contain"),
        ({"access_token": "t", "url": "ftp://cvat.example.com"}, "not the address of a CVAT server"),
    ],
)
def test_refuses_several_kinds_of_login_without_showing_the_secret(given, message):
    with pytest.raises(ValidationError, match=message) as error:
        CvatCredentials(**{"url": ADDRESS, **given})
    assert SECRET not in str(error.value)
    assert SECRET not in "".join(traceback.format_exception(error.value))


def test_accepts_its_own_dump():
    block = CvatCredentials(url=ADDRESS, access_token=SECRET, organization="lab", ca_bundle="ca.pem")
    dumped = block.model_dump()
    assert dumped["block_type_slug"] == "cvat-credentials"
    taken = CvatCredentials.model_validate(dumped)
    assert taken.model_dump() == dumped


def test_completes_the_url():
    assert CvatCredentials(url=" cvat.example.com/ ", access_token="t").url == ADDRESS


def test_logs_in_with_a_password(sandbox):
    block = CvatCredentials(url=sandbox.url, username=sandbox.user, password=SecretStr(sandbox.password))
    with block.get_client() as client:
        assert client.user().username == sandbox.user


@pytest.mark.parametrize("end", ["", "\n"])
def test_logs_in_with_a_token(sandbox, token, end):
    with CvatCredentials(url=sandbox.url, access_token=token + end).get_client() as client:
        assert client.user().username == sandbox.user


def test_a_wrong_password_is_refused_when_logging_in_and_the_client_is_closed(sandbox, monkeypatch, caplog):
    closed = []
    monkeypatch.setattr(Client, "close", lambda self: closed.append(self))
    caplog.set_level(logging.DEBUG)
    block = CvatCredentials(url=sandbox.url, username=sandbox.user, password=SECRET)
    with pytest.raises(AuthenticationError, match="refused to log in user 'admin'") as error:
        block.get_client()
    assert len(closed) == 1
    assert SECRET not in "".join(traceback.format_exception(error.value))
    assert SECRET not in caplog.text


def test_a_wrong_token_is_refused_with_the_first_request(sandbox, caplog):
    caplog.set_level(logging.DEBUG)
    with CvatCredentials(url=sandbox.url, access_token=SECRET).get_client() as client:
        with pytest.raises(AuthenticationError, match="check the access token") as error:
            client.user()
        assert SECRET not in repr(client)
    assert SECRET not in "".join(traceback.format_exception(error.value))
    assert SECRET not in caplog.text


@pytest.mark.parametrize("way", ["password", "token"])
def test_works_in_the_organization(sandbox, client, token, way):
    slug = f"lab-{uuid.uuid4().hex[:8]}"
    client._transport.json("POST", "/api/organizations", body={"slug": slug})
    outside = client.create_task("outside", [])
    login = (
        {"access_token": token}
        if way == "token"
        else {"username": sandbox.user, "password": sandbox.password}
    )

    def tasks(organization):
        block = CvatCredentials(url=sandbox.url, organization=organization, **login)
        with block.get_client() as other:
            return [task["id"] for task in other._transport.json("GET", "/api/tasks")["results"]]

    assert tasks(slug) == []
    assert outside.id in tasks(None)
    with pytest.raises(OrganizationError, match="there is no organization 'no-such-organization'"):
        tasks("no-such-organization")


@pytest.mark.parametrize(
    ("given", "verify"),
    [
        ({}, True),
        ({"verify_tls": False}, False),
        ({"ca_bundle": ""}, True),
        ({"ca_bundle": __file__}, __file__),
        ({"ca_bundle": __file__, "verify_tls": False}, False),
    ],
)
def test_passes_tls_options_to_the_client(given, verify):
    with CvatCredentials(url=ADDRESS, access_token=SECRET, **given).get_client() as client:
        assert client._transport._verify == verify


def test_missing_ca_bundle_is_named():
    block = CvatCredentials(url=ADDRESS, access_token=SECRET, ca_bundle="no-such-folder/ca.pem")
    with pytest.raises(TlsError, match=r"'no-such-folder/ca.pem'.*correct ca_bundle"):
        block.get_client()


def test_passes_further_options_to_the_client():
    block = CvatCredentials(url=f"http://127.0.0.1:{free_port()}", username="user", password=SECRET)
    with pytest.raises(TransportError, match="refused") as error:
        block.get_client(retry=RetryPolicy(give_up_after=0))
    assert SECRET not in "".join(traceback.format_exception(error.value))
