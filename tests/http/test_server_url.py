"""Spellings of server addresses."""

import re

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_cvat import Client
from prefect_cvat.credentials import CvatCredentials
from prefect_cvat.events.cvat_events import deterministic_id, task_resource_id
from prefect_cvat.flows.find_new_tasks import _variable_name
from prefect_cvat.flows.flow_run_keys import run_key, task_tag
from prefect_cvat.http.server_url import normalize_url, server_identity, server_slug
from prefect_cvat.options.run_options import Options
from prefect_cvat.tasks.prefect_limits import job_limit, server_limit, task_limit


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("cvat.example.com", "https://cvat.example.com"),
        ("cvat.example.com:8443/", "https://cvat.example.com:8443"),
        (" cvat.example.com\n", "https://cvat.example.com"),
        ("localhost:8080", "http://localhost:8080"),
        ("LocalHost", "http://localhost"),
        ("127.0.0.1", "http://127.0.0.1"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("[2001:DB8::7]", "https://[2001:db8::7]"),
        ("http://[2001:db8::7]:80/", "http://[2001:db8::7]:80"),
        ("HTTPS://CVAT.Example.com", "https://cvat.example.com"),
        ("http://cvat.example.com/api", "http://cvat.example.com"),
        ("http://cvat.example.com/api/", "http://cvat.example.com"),
        ("https://example.com/tools/cvat/", "https://example.com/tools/cvat"),
        ("https://example.com/cvat/api", "https://example.com/cvat"),
        ("https://example.com//api", "https://example.com"),
        ("https://example.com/api/api/", "https://example.com"),
        ("https://example.com/my-api", "https://example.com/my-api"),
        ("cvat_server:8080", "https://cvat_server:8080"),
        ("bücher.example", "https://bücher.example"),
        ("10.0.0.7:65535", "https://10.0.0.7:65535"),
    ],
)
def test_completes_addresses(written, expected):
    assert normalize_url(written) == expected


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "names no host"),
        ("  ", "names no host"),
        ("/", "names no host"),
        ("//cvat.example.com", "names no host"),
        ("http://", "names no host"),
        ("https:///tasks", "names no host"),
        (":8080", "names no host"),
        ("http:", "'http:' is followed by no '//'"),
        ("https:/cvat.example.com", "'https:' is followed by no '//'"),
        ("https:cvat.example.com", "'https:' is followed by no '//'"),
        ("ftp://cvat.example.com", "'ftp' is neither 'http' nor 'https'"),
        ("file:///etc/hosts", "'file' is neither"),
        ("://cvat.example.com", "'' is neither"),
        ("https://https://cvat.example.com", "'https://https' is neither"),
        ("cvat.example.com:port", "'port' is no port; ports are numbers from 1 to 65535"),
        ("cvat.example.com:", "'' is no port"),
        ("http://cvat.example.com:/", "'' is no port"),
        ("cvat.example.com:0", "'0' is no port"),
        ("cvat.example.com:65536", "'65536' is no port"),
        ("cvat.example.com:-1", "'-1' is no port"),
        ("cvat.example.com:8O80", "'8O80' is no port"),
        ("cvat.example.com:٨٠", "is no port"),
        ("[::1]:port", "'port' is no port"),
        ("cvat.example.com:80:90", "an IPv6 address stands in brackets"),
        ("::1", "an IPv6 address stands in brackets"),
        ("2001:db8::7", "an IPv6 address stands in brackets"),
        ("[::1", "an IPv6 address stands in brackets"),
        ("::1]", "an IPv6 address stands in brackets"),
        ("[::1]8080", "an IPv6 address stands in brackets"),
        ("[]", "'' is no IPv6 address"),
        ("[cvat.example.com]", "'cvat.example.com' is no IPv6 address"),
        ("[2001:db8::7::1]", "is no IPv6 address"),
        ("cvat example.com", "'cvat example.com' is no name of a host"),
        ("cvat.\nexample.com", "is no name of a host"),
        ("cvat..example.com", "is no name of a host"),
        (".example.com", "is no name of a host"),
        ("https:\\\\cvat.example.com", "is followed by no '//'"),
        ("https://cvat.example.com\\tasks", "is no name of a host"),
        ("https://<cvat>", "is no name of a host"),
        ("https://cvat.example.com/a path", "'a path' is no path"),
        ("https://cvat.example.com/cvat:8080", "'cvat:8080' is no path"),
    ],
)
def test_refuses_invalid_addresses_with_an_example(written, why):
    with pytest.raises(ValueError, match="is not the address of a CVAT server") as caught:
        normalize_url(written)
    assert why in str(caught.value)
    assert "One is like 'https://cvat.example.com' or 'localhost:8080'" in str(caught.value)
    assert repr(written.strip()) in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        "user:secret@cvat.example.com",
        "secret@cvat.example.com",
        "https://user:secret@cvat.example.com",
        "ftp://user:secret@cvat.example.com",
        "https://user:sec/secret@cvat.example.com",
        "https://user:secret@",
        "https://cvat.example.com/user:secret@",
    ],
)
def test_refuses_credentials_in_addresses_without_showing_them(written):
    with pytest.raises(ValueError, match="must not contain a user or password") as caught:
        Client(written)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize("written", ["https://cvat.example.com/?key=secret", "cvat.example.com#secret"])
def test_refuses_query_and_fragment_without_showing_them(written):
    with pytest.raises(ValueError, match="a query or a fragment follows it") as caught:
        normalize_url(written)
    assert "secret" not in str(caught.value)


@given(st.text(alphabet="htps:/.[]@?#%-_ a1é\\\n", max_size=30).map("https://a".__add__) | st.text())
@example("https://[fe80::1%25eth0]")
@example("https://a//api")
def test_normalizing_twice_changes_nothing(written):
    try:
        url = normalize_url(written)
    except ValueError:
        return
    assert normalize_url(url) == url
    assert url.startswith(("http://", "https://"))
    assert not url.endswith("/")
    requests.Request("GET", url).prepare()


@pytest.mark.parametrize(
    ("expected", "spellings"),
    [
        (
            "localhost",
            [
                "localhost",
                "LOCALHOST.",
                "http://localhost:80/",
                "https://localhost:443/api",
                "127.0.0.1",
                "http://127.0.0.1",
                "https://127.8.9.10",
                "http://127.1",
                "http://0x7f000001/",
                "http://0.0.0.0",
                "[::1]",
                "http://[0:0:0:0:0:0:0:1]",
                "http://[::ffff:127.0.0.1]",
                "http://[::]",
                "http://admin:admin@localhost",
            ],
        ),
        (
            "localhost:8080",
            ["localhost:8080", "http://127.0.0.1:8080/api/", "https://[::1]:8080", "admin@localhost.:8080/"],
        ),
        (
            "cvat.example.com",
            [
                "cvat.example.com",
                " https://CVAT.Example.com./\n",
                "http://cvat.example.com",
                "http://cvat.example.com:80",
                "https://cvat.example.com:443/api/",
                "https://user:pass@cvat.example.com",
                "https://user:p@ss/w://rd@cvat.example.com//",
                "user@cvat.example.com",
            ],
        ),
        (
            "example.com:8443/tools/cvat",
            [
                "example.com:8443/tools/cvat/",
                "http://EXAMPLE.com.:8443/tools/cvat/api",
                "example.com:8443//tools/../tools/cvat",
            ],
        ),
        ("[2001:db8::7]:8080", ["http://[2001:DB8::7]:8080", "[2001:db8:0:0:0:0:0:7]:8080/"]),
        ("10.0.0.7", ["10.0.0.7", "http://[::ffff:10.0.0.7]", "10.7"]),
        ("xn--bcher-kva.example", ["bücher.example", "https://BÜCHER.example", "xn--bcher-kva.example"]),
    ],
)
def test_spellings_of_a_server_have_one_identity(expected, spellings):
    assert {spelling: server_identity(spelling) for spelling in spellings} == dict.fromkeys(
        spellings, expected
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("localhost:8080", "localhost:8081"),
        ("cvat.example.com", "cvat.example.com:8443"),
        ("example.com/cvat", "example.com"),
        ("example.com/cvat", "example.com/cvat2"),
        ("example.com/cvat", "example.com/CVAT"),
        ("cvat.example.com", "www.cvat.example.com"),
        ("cvat.localhost", "localhost"),
        ("[2001:db8::7]", "[2001:db8::8]"),
        ("127.0.0.1.example.com", "127.0.0.1"),
    ],
)
def test_different_servers_have_different_identities(one, other):
    assert server_identity(one) != server_identity(other)
    assert server_slug(one) != server_slug(other)


LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
HOST = st.one_of(
    st.sampled_from(["localhost", "10.0.0.7", "[2001:db8::7]"]),
    st.lists(LABEL, min_size=2, max_size=3).map(".".join),
)
PORT = st.one_of(st.none(), st.integers(1, 65535).filter(lambda port: port not in (80, 443)))
FOLDERS = st.lists(
    st.from_regex(r"[A-Za-z0-9_]{1,4}", fullmatch=True).filter(lambda name: name != "api"), max_size=2
)
IDENTITY = st.builds(
    lambda host, port, folders: "/".join([host if port is None else f"{host}:{port}", *folders]),
    HOST,
    PORT,
    FOLDERS,
)


@given(
    IDENTITY,
    st.sampled_from(["", "http://", "HTTPS://"]),
    st.sampled_from(["", "user@", "user:secret@", "user:s/e@c:80@"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from([":80", ":443"]),
    st.sampled_from(["", "/", "//", "/api", "/api/", "//api//"]),
    st.sampled_from(["localhost", "127.0.0.1", "127.0.1.1", "[::1]"]),
)
def test_spelling_does_not_change_the_identity(
    identity, scheme, user, is_upper, has_dot, default_port, end, loopback
):
    assert server_identity(identity) == identity
    host, _, path = identity.partition("/")
    bracket, colon = host.rfind("]"), host.rfind(":")
    name, port = (host[:colon], host[colon:]) if colon > bracket else (host, default_port)
    if name == "localhost":
        name = loopback
    if not name.startswith("["):
        name = f"{name}{'.' if has_dot else ''}"
    name = name.upper() if is_upper else name
    written = f"{scheme}{user}{name}{port}{'/' + path if path else ''}{end}"
    assert server_identity(written) == identity


@given(IDENTITY, IDENTITY)
@example("a-b.example", "a.b-example")
@example("example.com/cvat", "example.com.cvat")
@example("example.com/a_b", "example.com/a/b")
def test_slugs_are_unique(one, other):
    assert (server_slug(one) == server_slug(other)) == (one == other)
    assert re.fullmatch(r"[a-z0-9-]+", server_slug(one))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://cvat.example.com", "cvat-example-com"),
        ("http://127.0.0.1:8080", "localhost-8080"),
        ("https://cvat-lab.example.com", "cvat--lab-example-com"),
        ("https://example.com/cvat", "example-com-cvat-[0-9a-f]{8}"),
    ],
)
def test_slugs_are_readable(url, expected):
    assert re.fullmatch(expected, server_slug(url))


@pytest.mark.parametrize("written", ["", "ftp://cvat.example.com", "https://user:secret@", "host:port"])
def test_refuses_an_identity_for_invalid_addresses(written):
    with pytest.raises(ValueError, match="is not the address of a CVAT server") as caught:
        server_identity(written)
    assert "secret" not in str(caught.value)


def test_names_in_prefect_do_not_depend_on_the_spelling():
    one, other = "http://127.0.0.1:8080", "https://LOCALHOST:8080/api/"
    assert server_limit(one) == server_limit(other) == "prefect-cvat-server-localhost-8080"
    assert task_limit(one, 7) == task_limit(other, 7)
    assert job_limit(one, 7) == job_limit(other, 7)
    assert task_resource_id(one, 7) == task_resource_id(other, 7)
    assert deterministic_id(one, "x") == deterministic_id(other, "x")
    assert task_tag(one, 7) == task_tag(other, 7) == "localhost:8080/tasks/7"
    keys = {run_key(url, 7, None, "1", "annotate", Options()) for url in (one, other)}
    assert len(keys) == 1
    names = {
        _variable_name(CvatCredentials(url=url, access_token="x", organization="lab"), 3, None)
        for url in (one, other)
    }
    assert names == {"cvat_new_tasks_localhost-8080_lab_project_3"}
