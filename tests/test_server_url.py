"""The address of a server, as people write it."""

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st

from prefect_cvat import Client
from prefect_cvat.server_url import normalize_url


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
        ("cvat_server:8080", "https://cvat_server:8080"),
        ("bücher.example", "https://bücher.example"),
        ("10.0.0.7:65535", "https://10.0.0.7:65535"),
    ],
)
def test_addresses_are_completed(written, expected):
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
def test_what_is_no_address_is_refused_with_what_is_wrong_and_what_one_is_like(written, why):
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
def test_a_password_in_an_address_is_refused_and_not_shown(written):
    with pytest.raises(ValueError, match="must not contain a user or password") as caught:
        Client(written)
    assert "sec" not in str(caught.value)


@pytest.mark.parametrize("written", ["https://cvat.example.com/?key=secret", "cvat.example.com#secret"])
def test_what_follows_an_address_is_refused_and_not_shown(written):
    with pytest.raises(ValueError, match="a query or a fragment follows it") as caught:
        normalize_url(written)
    assert "secret" not in str(caught.value)


@given(st.text(alphabet="htps:/.[]@?#%-_ a1é\\\n", max_size=30).map("https://a".__add__) | st.text())
@example("https://[fe80::1%25eth0]")
def test_what_comes_out_is_an_address_and_is_not_changed_again(written):
    try:
        url = normalize_url(written)
    except ValueError:
        return
    assert normalize_url(url) == url
    assert url.startswith(("http://", "https://"))
    assert not url.endswith("/")
    requests.Request("GET", url).prepare()
