"""What `prefect-cvat setup` makes, on a real Prefect server, and in the sandbox."""

import contextlib
import os
import subprocess
import sys
from uuid import uuid4

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from pydantic import SecretStr

from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.cvat.webhooks import list_webhooks
from prefect_cvat.deployments.block_references import credentials_reference
from prefect_cvat.deployments.nightly_schedule import NightlySchedule, set_up_schedule
from prefect_cvat.deployments.prefect_yaml import make_deployments
from prefect_cvat.deployments.scope import Scope
from prefect_cvat.deployments.set_up_server import LEASE_STORAGE, set_up, set_up_limits
from prefect_cvat.deployments.webhooks.webhook_secret import SECRET_BLOCK, load_webhook_secret
from prefect_cvat.exceptions import AuthenticationError, PermissionDeniedError, TransportError
from prefect_cvat.function_block import CvatFunction
from prefect_cvat.sandbox import Sandbox
from prefect_cvat.tasks.prefect_limits import device_limit, ensure_limit, server_limit

pytestmark = [
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.filterwarnings("default"),  # Prefect's own
]

URL = "https://setup.example.com:8443"  # of these tests alone: the server is shared with others


def is_stored(block_type, name):
    with get_client(sync_client=True) as prefect:
        try:
            prefect.read_block_document_by_name(name, block_type)
        except ObjectNotFound:
            return False
    return True


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "prefect_cvat", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


@pytest.fixture
def project(client):
    return client.json("POST", "/api/projects", body={"name": "watched", "labels": []})["id"]


def test_second_setup_changes_nothing(credentials, sandbox):
    with get_client(sync_client=True) as prefect, contextlib.suppress(ObjectNotFound):  # of other tests
        prefect.delete_global_concurrency_limit_by_name(server_limit(sandbox.url))

    made = list(set_up(credentials, credentials="twice", work_pool="pool-twice"))
    again = list(set_up(credentials, credentials="twice", work_pool="pool-twice"))

    assert f"block cvat-credentials/twice: {sandbox.url} as admin (created)" in made
    assert f"limit {server_limit(sandbox.url)}: 4 at a time (created)" in made
    assert "work pool 'pool-twice' of processes (created)" in made
    assert any(line.endswith(LEASE_STORAGE) for line in made), "the tests' server keeps leases in memory"
    assert made[-1].endswith("deployments/prefect.yaml")
    assert not any("(created" in line or "changed)" in line.replace("unchanged)", "") for line in again)
    assert [line.rpartition(" (")[0] for line in made] == [line.rpartition(" (")[0] for line in again]

    with get_client(sync_client=True) as prefect:
        assert prefect.read_work_pool("pool-twice").type == "process"
        for block in (CvatCredentials, CvatFunction):
            assert prefect.read_block_type_by_slug(block.get_block_type_slug())
    with CvatCredentials.load("twice").get_client() as client:
        assert client.user().username == "admin"


def test_setup_without_credentials_keeps_the_block(credentials, sandbox):
    credentials.save("kept")

    lines = list(set_up(None, credentials="kept", work_pool=None))

    assert f"block cvat-credentials/kept: {sandbox.url} (unchanged)" in lines
    assert not any("work pool" in line for line in lines)
    assert CvatCredentials.load("kept").password == credentials.password


def test_new_credentials_keep_the_ca_bundle(credentials, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    credentials.model_copy(update={"ca_bundle": str(bundle)}).save("moved")
    other = credentials.model_copy(update={"organization": ""})

    assert any("moved" in line and "(changed)" in line for line in set_up(other, credentials="moved"))

    stored = CvatCredentials.load("moved")
    assert (stored.organization, stored.ca_bundle) == ("", str(bundle))


def test_keeps_ca_bundle_for_another_spelling_of_the_url(credentials, tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("")
    credentials.model_copy(update={"ca_bundle": str(bundle)}).save("respelled")
    url = credentials.url.replace("127.0.0.1", "localhost")
    assert url != credentials.url

    list(set_up(credentials.model_copy(update={"url": url}), credentials="respelled"))

    stored = CvatCredentials.load("respelled")
    assert (stored.url, stored.ca_bundle) == (url, str(bundle))


def test_refuses_credentials_for_another_server(credentials):
    credentials.save("first")
    with Sandbox() as other:
        elsewhere = CvatCredentials(url=other.url, username=other.user, password=SecretStr(other.password))
        with pytest.raises(
            ValueError, match=f"has the credentials for {credentials.url}, .* with --credentials NAME"
        ):
            list(set_up(elsewhere, credentials="first", work_pool=None))
        assert CvatCredentials.load("first").url == credentials.url
        assert any("(created)" in line for line in set_up(elsewhere, credentials="second", work_pool=None))


@pytest.fixture
def stranger(client, sandbox):
    """Credentials of a user who cannot see objects of others."""
    name = f"stranger-{uuid4().hex[:6]}"
    client.json(
        "POST",
        "/api/auth/register",
        body={
            "username": name,
            "email": f"{name}@example.com",
            "password1": "a-Long-one-7",
            "password2": "a-Long-one-7",
            "first_name": "",
            "last_name": "",
        },
    )
    return CvatCredentials(url=sandbox.url, username=name, password=SecretStr("a-Long-one-7"))


@pytest.mark.parametrize("goes_on", ["automation", "schedule"])
def test_refuses_user_who_does_not_see_projects_of_the_block(credentials, stranger, project, goes_on):
    block = f"watching-{goes_on}"
    credentials.save(block)
    scope = Scope(project_id=project)
    for deployment in make_deployments(credentials=block):
        deployment.apply()
    if goes_on == "automation":
        list(set_up(None, credentials=block, scope=scope, work_pool=None))
        message = f"automation 'prefect-cvat: annotate new tasks of project {project} at .*' uses"
    else:
        list(set_up_schedule(scope, NightlySchedule(), credentials_reference(block)))
        message = "schedule 'nightly' of 'annotate project/annotate-project' uses"

    with pytest.raises(ValueError, match=rf"{message} .*stranger-.* does not see its project {project}"):
        list(set_up(stranger, credentials=block, work_pool=None))

    assert CvatCredentials.load(block).username == credentials.username
    lines = list(set_up(stranger, credentials=f"{block}-stranger", work_pool=None))
    assert any(f"as {stranger.username} (created)" in line for line in lines)
    with pytest.raises(PermissionDeniedError):
        list(set_up(None, credentials=f"{block}-stranger", scope=scope, work_pool=None))


def test_does_not_store_wrong_credentials(sandbox):
    wrong = CvatCredentials(url=sandbox.url, username="admin", password=SecretStr("wrong"))

    with pytest.raises(AuthenticationError):
        list(set_up(wrong, credentials="refused"))

    assert not is_stored("cvat-credentials", "refused")


def test_missing_credentials_error_names_the_options():
    with pytest.raises(
        ValueError, match=r"no block cvat-credentials/nobody.*--auth USER\[:PASS\] or --access"
    ):
        list(set_up(None, credentials="nobody"))


def test_refuses_work_pool_of_another_type(credentials):
    with get_client(sync_client=True) as prefect:
        prefect.create_work_pool(WorkPoolCreate(name="in-ecs", type="ecs"))

    with pytest.raises(ValueError, match=r"'in-ecs' of type 'ecs', which is none of .*--no-work-pool"):
        list(set_up(credentials, credentials="pools", work_pool="in-ecs"))


def test_changes_limits_only_if_a_number_is_given():
    name = server_limit(URL)
    device = device_limit("cuda:7")
    assert list(set_up_limits(URL, devices=["cuda:7"])) == [
        f"limit {name}: 4 at a time (created)",
        f"limit {device}: 1 at a time (created)",
    ]
    assert next(set_up_limits(URL, runs_per_server=2, devices=[])) == f"limit {name}: 2 at a time (changed)"
    ensure_limit(device, 3, overwrite=True)
    assert list(set_up_limits(URL, devices=["cuda:7"])) == [
        f"limit {name}: 2 at a time (unchanged)",
        f"limit {device}: 3 at a time (unchanged)",
    ]


def test_registers_webhook_with_new_secret(credentials, client, project, start_receiver):
    receiver = start_receiver()  # has another secret
    target = f"{receiver.url}/webhooks"

    made = list(set_up(credentials, credentials="hooks", scope=Scope(project_id=project), webhook=target))
    secret = load_webhook_secret()
    again = list(set_up(None, credentials="hooks", scope=Scope(project_id=project), webhook=target))

    assert f"block secret/{SECRET_BLOCK} (created)" in made
    assert f"block secret/{SECRET_BLOCK} (unchanged)" in again
    assert any(f"of project {project}, to {target}: created" in line for line in made)
    assert any(f"of project {project}, to {target}: unchanged" in line for line in again)
    assert any("another secret" in line for line in made)
    assert load_webhook_secret() == secret
    assert len(secret.get_secret_value()) >= 32
    assert len([hook for hook in list_webhooks(client) if hook.target_url == target]) == 1

    knows = start_receiver(secret=secret)
    lines = list(
        set_up(None, credentials="hooks", scope=Scope(project_id=project), webhook=f"{knows.url}/webhooks")
    )
    assert any("has answered a ping with 2" in line for line in lines)
    for line in (*made, *again, *lines):
        assert secret.get_secret_value() not in line


def test_uses_secret_of_environment_without_storing_it(credentials, project, start_receiver, monkeypatch):
    monkeypatch.setenv("PREFECT_CVAT_WEBHOOK_SECRET", "that-of-the-environment")
    receiver = start_receiver(secret=SecretStr("that-of-the-environment"))
    before = is_stored("secret", SECRET_BLOCK) and Secret.load(SECRET_BLOCK).get()

    lines = list(
        set_up(
            credentials,
            credentials="hooks",
            scope=Scope(project_id=project),
            webhook=f"{receiver.url}/webhooks",
        )
    )

    assert any("has answered a ping with 2" in line for line in lines)
    assert not any("that-of-the-environment" in line for line in lines)
    assert (is_stored("secret", SECRET_BLOCK) and Secret.load(SECRET_BLOCK).get()) == before


def test_refuses_webhook_without_project_and_organization(credentials):
    with pytest.raises(ValueError, match="pass --project ID, or --organization SLUG"):
        list(set_up(credentials, credentials="aimless", webhook="http://127.0.0.1:9/webhooks"))

    assert not is_stored("cvat-credentials", "aimless")


def test_missing_prefect_server_is_named(credentials):
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(TransportError, match=r"127\.0\.0\.1:9/api does not answer .*prefect server start"),
    ):
        list(set_up(credentials))
    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(ValueError, match="PREFECT_API_URL is not set"),
    ):
        list(set_up(credentials))


def test_error_of_prefect_server_does_not_quote_the_request(credentials):
    with pytest.raises(TransportError, match=r"403 to POST /api/work_pools/: Work pools starting") as refused:
        list(set_up(credentials, credentials="refusals", work_pool="prefect-pool"))
    assert "variables" not in str(refused.value)


def test_command_prints_each_object_and_no_secret(credentials, sandbox):
    login = f"{sandbox.user}:{sandbox.password}"

    done = command(
        *("--server-host", sandbox.url, "--auth", login, "setup", "--credentials", "of-command"),
        PREFECT_API_URL=PREFECT_API_URL.value(),
    )

    assert done.returncode == 0, done.stderr
    assert f"block cvat-credentials/of-command: {sandbox.url} as admin (created)" in done.stdout.splitlines()
    assert login not in done.stdout + done.stderr
    assert CvatCredentials.load("of-command").password == credentials.password


def test_environment_token_is_used_for_the_given_server(credentials, sandbox):
    environment = {"PREFECT_API_URL": PREFECT_API_URL.value(), "CVAT_ACCESS_TOKEN": "of-another-server"}
    done = command("setup", "--credentials", "not-there", **environment)
    assert (done.returncode, "there is no block cvat-credentials/not-there" in done.stderr) == (2, True)
    done = command("--server-host", sandbox.url, "setup", "--credentials", "not-there", **environment)
    assert (done.returncode, "401" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["setup", "--project", "7"], 1, "the Prefect server at http://127.0.0.1:9/api does not answer"),
        (["serve", "--nightly", "at night"], 2, "'at night' is not a cron expression"),
        (["serve", "--nightly", "0 2 * * *"], 2, "pass --project ID too, or --all-tasks"),
        (["serve", "--project", "7", "--all-tasks"], 2, "--project 7 and --all-tasks contradict each other"),
        (["setup", "--project", "7", "--all-tasks"], 2, "--project 7 and --all-tasks contradict each other"),
    ],
)
def test_commands_print_short_errors(arguments, code, message):
    done = command(*arguments, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert (done.returncode, message in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
