"""Redirects are not followed; the error names the address to use."""

import io

import pytest

from prefect_cvat import Client
from prefect_cvat.exceptions import ApiError, RedirectError, is_transient
from prefect_cvat.http.retry_policy import RetryPolicy
from scripted_server import Answer, scripted_server

PATIENT = RetryPolicy(give_up_after=5.0, first_delay=0.01, longest_delay=0.05)


def client_of(server, **options):
    return Client(server.url, access_token="secret-token-value", retry=PATIENT, **options)


def to(location, status=302):
    return Answer(status, b"", {"Location": location})


@pytest.fixture
def netrc(tmp_path, monkeypatch):
    file = tmp_path / "netrc"
    file.write_text("default login somebody password hunter2\n")
    monkeypatch.setenv("NETRC", str(file))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.usefixtures("netrc")
def test_follows_no_redirect_to_another_host(status):
    with scripted_server() as other, scripted_server(to(f"{other.url}/elsewhere", status)) as server:
        client = client_of(server, organization="lab")
        with pytest.raises(RedirectError, match=f"is redirected to '{other.url}/elsewhere'") as error:
            client.task(1)
        with pytest.raises(RedirectError):
            client.chunk(1, 0, io.BytesIO())
        with pytest.raises(RedirectError):
            list(client.iter_job_annotations(1))
        with pytest.raises(RedirectError):
            client.create_job_annotations(1, {})
    assert other.requests == []
    assert len(server.requests) == 4
    assert error.value.status == status
    assert isinstance(error.value, ApiError)
    assert not is_transient(error.value)
    assert "secret-token-value" not in str(error.value)


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/api/tasks/1", "redirects to itself"),
        ("http://{server}/api/tasks/1", "redirects to itself"),
        ("file:///etc/passwd", "is redirected to 'file:///etc/passwd'"),
        ("ftp://example.com/api/tasks/1", "is redirected to 'ftp://example.com/api/tasks/1'"),
        ("javascript:alert(1)", "is redirected to 'javascript:alert"),
        ("http://[::1", "is redirected to"),
        ("http://user:pass@example.com/api/tasks/1", "is redirected to"),
        ("\x1b[31m\xff", r"is redirected to '\\x1b\[31m\\xff'"),
        ("", "redirects to itself"),
        ("https://example.com/" + "a" * 50_000 + "/api/tasks/1", "is redirected to 'https://example.com/aaa"),
        ("https://example.com/api/tasks/1", "redirects to https://example.com; if that is your server, give"),
        ("https://example.com/cvat/api/tasks/1", "redirects to https://example.com/cvat; if that"),
        ("/cvat/api/tasks/1?x=1", "redirects to http://{server}/cvat; if that"),
    ],
    ids=lambda value: value[:30],
)  # fmt: skip
def test_names_the_target_of_a_redirect(location, message):
    answer = to("")
    with scripted_server(answer) as server:
        host = server.url.removeprefix("http://")
        answer.headers["Location"] = location.format(server=host)
        with pytest.raises(RedirectError, match=message.replace("{server}", host)) as error:
            client_of(server).task(1)
        assert len(server.requests) == 1
    assert len(str(error.value)) < 1000
    assert str(error.value).isprintable()


@pytest.mark.parametrize("status", [300, 302, 304, 399])
def test_refuses_a_redirect_without_location(status):
    with scripted_server(Answer(status, b"", {})) as server:
        with pytest.raises(RedirectError, match=f"is redirected to nowhere.*HTTP {status}"):
            client_of(server).create_job_annotations(1, {})
        assert len(server.requests) == 1


def test_reports_a_redirect_to_https_before_sending_credentials():
    moved = to("https://cvat.example.com/api/server/about", 308)
    told = "redirects to https://cvat.example.com; if that is your server, give that address .*--server-host"
    with scripted_server(contact=moved) as server:
        with pytest.raises(RedirectError, match=told):
            Client(server.url, retry=PATIENT).login(("alice", "hunter2"))
        with pytest.raises(RedirectError, match=told):
            client_of(server, organization="lab").create_job_annotations(1, {})
        assert server.requests == []


def test_accepts_a_redirect_of_anonymous_requests_to_a_login_page():
    log_in = to("https://sso.example.com/authorize?next=/api/server/about")
    with scripted_server(Answer(body=b'{"version": "2.73.0"}'), contact=log_in) as server:
        assert client_of(server).server_version() == "2.73.0"


def test_does_not_suggest_an_unencrypted_address():
    import requests

    from prefect_cvat.http.redirects import redirect_error

    answer = requests.Response()
    answer.status_code = 301
    answer.headers["Location"] = "http://cvat.example.com/api/tasks/1"
    error = redirect_error(answer, "GET", "https://cvat.example.com", "/api/tasks/1")
    assert "where nothing is encrypted" in str(error)
    assert "give that address" not in str(error)
