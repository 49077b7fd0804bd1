"""Where the command line gets the server and the login from."""

import pytest

from command_line import run_command_text as run
from loopback_server import tls_server
from scripted_server import scripted_server


@pytest.fixture
def annotate(make_task, function_file):
    return ["annotate", make_task(1), "--function-file", function_file]


@pytest.fixture
def profiles(tmp_path):
    """Write the file of profiles; the result is the environment that names it."""

    def write(text, mode=0o600):
        path = tmp_path / "profiles.toml"
        path.write_text(text)
        path.chmod(mode)
        return {"PREFECT_CVAT_PROFILES_FILE": str(path)}

    return write


@pytest.fixture
def profile_text(sandbox):
    return f'url = "{sandbox.url}"\nusername = "{sandbox.user}"\npassword = "{sandbox.password}"\n'


def test_server_and_login_may_come_from_the_environment(sandbox, annotate):
    done = run(*annotate, CVAT_SERVER_HOST=sandbox.url, CVAT_AUTH=f"{sandbox.user}:{sandbox.password}")
    assert (done.returncode, "1 added" in done.stdout) == (0, True), done.stderr
    assert done.stderr.count("ps") == 0


@pytest.mark.parametrize("name", ["default", "work"])
def test_server_and_login_may_come_from_a_profile(profiles, profile_text, annotate, name):
    named = [] if name == "default" else ["--profile", name]
    done = run(*named, *annotate, **profiles(f"[{name}]\n{profile_text}"))
    assert (done.returncode, "1 added" in done.stdout) == (0, True), done.stderr


def test_user_of_a_profile_whose_password_is_in_the_environment(sandbox, profiles, annotate):
    environment = profiles(f'[work]\nurl = "{sandbox.url}"\nusername = "{sandbox.user}"\n', mode=0o644)
    done = run(*annotate, **environment, CVAT_PROFILE="work", PASS=sandbox.password)
    assert done.returncode == 0, done.stderr


KEYRING = """
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    priority = 1

    def get_password(self, service, username):
        return {passwords!r}.get((service, username))

    def set_password(self, service, username, password):
        raise NotImplementedError
"""


def test_password_may_come_from_the_keyring(sandbox, annotate, tmp_path):
    pytest.importorskip("keyring", reason="keyring is not installed")
    passwords = {(sandbox.url, sandbox.user): sandbox.password}
    (tmp_path / "a_keyring.py").write_text(KEYRING.format(passwords=passwords))
    keyring = {"PYTHONPATH": str(tmp_path), "PYTHON_KEYRING_BACKEND": "a_keyring.Keyring"}
    done = run("--server-host", sandbox.url, "--auth", sandbox.user, *annotate, **keyring)
    assert done.returncode == 0, done.stderr


def test_credentials_of_a_profile_are_not_sent_to_another_server(profiles, profile_text, annotate):
    environment = profiles(f"[default]\n{profile_text}[work]\n{profile_text}")
    with scripted_server() as other:
        done = run("--server-host", other.url, *annotate, **environment)
        assert (done.returncode, "no credentials" in done.stderr) == (2, True), done.stderr
        done = run("--server-host", other.url, "--profile", "work", *annotate, **environment)
        assert done.returncode == 2
        assert f"the server {other.url} is not that of profile 'work', http://" in done.stderr
        # the command line goes before the environment
        done = run("--server-host", other.url, *annotate, **environment, CVAT_PROFILE="work")
        assert (done.returncode, "no credentials" in done.stderr) == (2, True), done.stderr
        assert other.requests == []
        done = run("--profile", "work", *annotate, **environment, CVAT_SERVER_HOST=other.url)
        assert done.returncode == 0, done.stderr
        # the token in the environment may be that of another server than a profile that the command line names
        done = run("--profile", "work", *annotate, **environment, CVAT_ACCESS_TOKEN="of-another-server")
        assert done.returncode == 0, done.stderr
        assert other.requests == []
    done = run(*annotate, **environment, CVAT_ACCESS_TOKEN="wrong")
    assert (done.returncode, "401" in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    ("text", "mode", "message"),
    [
        ("[home]\n{}", 0o600, "there is no profile 'work' in "),
        ("[wrok]\n{}", 0o600, "did you mean 'wrok'?"),
        ("", 0o600, "does not exist, or is empty"),
        ("[work]\n{}", 0o644, "which holds a secret: `chmod 600 "),
        ("[work]\n{}pasword = 'hunter2'\n", 0o600, "pasword: Extra inputs are not permitted (its fields are url, "),
        ("[work]\n{}access_token = 'hunter2'\n", 0o600, "an access_token and a username or password; remove one"),
        ("[work]\nurl = 'ftp://hunter2'\n", 0o600, "profile 'work' in "),
        ("[work\n", 0o600, "profiles.toml cannot be read: "),
    ],
)  # fmt: skip
def test_a_profile_that_cannot_be_used_is_one_clear_line(
    profiles, profile_text, annotate, text, mode, message
):
    done = run("--profile", "work", *annotate, **profiles(text.format(profile_text), mode))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert profile_text.splitlines()[2] not in done.stderr


def test_a_secret_on_the_command_line_is_warned_of(annotate):
    # .invalid never resolves; what is on this machine needs no warning
    done = run("--server-host", "cvat.invalid", "--auth", "alice:hunter2", *annotate)
    assert "other users of this machine see the secret of --auth in the list of processes" in done.stderr
    assert "hunter2" not in done.stderr
    done = run("--server-host", "cvat.invalid", "--access-token", "hunter2", *annotate)
    assert "the secret of --access-token" in done.stderr
    done = run("--server-host", "cvat.invalid", "--auth", "alice", *annotate, PASS="hunter2")
    assert "list of processes" not in done.stderr


def test_credentials_of_the_environment_are_only_sent_to_the_server_that_it_names(
    sandbox, profiles, annotate
):
    with scripted_server() as other:
        environment = profiles(f'[b]\nurl = "{other.url}"\n[c]\nurl = "{other.url}"\nusername = "alice"\n')
        named = {"CVAT_SERVER_HOST": sandbox.url, "CVAT_ACCESS_TOKEN": "of-a", "PASS": "of-a"}
        for server in (["--profile", "b"], ["--server-host", other.url]):
            done = run(*server, *annotate, **environment, **named)
            assert (done.returncode, "no credentials" in done.stderr) == (2, True), done.stderr
        # its password is neither in the environment nor in a keyring, and nobody can be asked
        done = run("--profile", "c", *annotate, **environment, **named, CVAT_AUTH="alice:of-a")
        assert (done.returncode, "Password of alice" in done.stderr) == (1, True), done.stderr
        assert other.requests == []


def test_ca_bundle_verifies_a_server_with_a_private_certificate(tmp_path, annotate):
    with tls_server(tmp_path) as (url, certificate):
        host = ["--server-host", url, "--access-token", "abc"]
        done = run(*host, *annotate)
        assert (done.returncode, "(--ca-bundle on the command line" in done.stderr) == (1, True), done.stderr
        done = run(*host, "--ca-bundle", certificate, *annotate)
        assert (done.returncode, "there is no task" in done.stderr) == (1, True), done.stderr
        done = run(*host, *annotate, CVAT_CA_BUNDLE="/no/such.pem")
        assert (done.returncode, "'/no/such.pem'" in done.stderr) == (1, True), done.stderr
        assert "or correct --ca-bundle" in done.stderr
        done = run(*host, "--ca-bundle", certificate, "--insecure", *annotate)
        assert (done.returncode, "contradict each other" in done.stderr) == (2, True), done.stderr
