"""Normalizes addresses of CVAT servers."""

from __future__ import annotations

import hashlib
import re
import socket
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

__all__ = ["normalize_url", "server_identity", "server_slug", "slug"]

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST_AND_PORT = re.compile(r"(\[.*\]|[^:\[\]]*)(?::(.*))?", re.DOTALL)
_HOST_NAME = re.compile(r"[^\W_]([\w-]*\w)?(\.[\w-]*\w)*\.?")
_PATH = re.compile(r"[\w.~%/-]*")
_END_OF_PATH = re.compile(r"(/|/api)+$")
_DEFAULT_PORTS = ("80", "443")


def normalize_url(url: str) -> str:
    """Complete the address of a server: `cvat.example.com` becomes `https://cvat.example.com`.

    Plain HTTP is assumed for a server on this machine; for others the address must say so, because a
    password must not be sent unencrypted by accident. A path is kept, for servers
    that are not at the root of their host.

    Raises:
        ValueError: It is not an address of a web server. What may be a secret is not repeated.
    """
    text = url.strip()
    if "@" in text:
        raise ValueError("the address of a CVAT server must not contain a user or password; use login()")
    address, *more = re.split(r"[?#]", text, maxsplit=1)
    if more:
        raise _refused(address, "a query or a fragment follows it")
    scheme, separator, rest = address.rpartition("://")
    authority, _, path = rest.partition("/")
    host, port = _split(authority, address)
    if not separator:
        if host in ("http", "https") and port is not None:
            raise _refused(address, f"'{host}:' is followed by no '//'")
        scheme = "http" if host in _LOOPBACK else "https"
    scheme = scheme.lower()
    if scheme not in ("http", "https"):
        raise _refused(address, f"{scheme!r} is neither 'http' nor 'https'")
    _check_host(host, address)
    if port is not None and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise _refused(address, f"{port!r} is no port; ports are numbers from 1 to 65535")
    if not _PATH.fullmatch(path):
        raise _refused(address, f"{path!r} is no path")
    path = _END_OF_PATH.sub("", f"/{path}")
    return f"{scheme}://{host}{'' if port is None else f':{port}'}{path}"


def server_identity(url: str) -> str:
    """The same text for one server, however its address is written: `cvat.example.com`, `localhost:8080`.

    For locks, caches, records and names, by which two runs recognize the same server; messages show the
    result of `normalize_url`. The text is itself an address with the same identity.

    All names of this machine's loopback are `localhost`. The scheme, ports 80 and 443, letter case of the
    host, a dot at its end, a user with a password, and `/api` or slashes at the end do not count. A path
    does: there may be several servers on one host. Names are not looked up: an alias of a host is another
    server.

    Raises:
        ValueError: It is not an address of a web server. What may be a secret is not repeated.
    """
    # a password may hold anything, and nothing else holds an @
    user, _, address = url.strip().rpartition("@")
    scheme = re.match(r"[A-Za-z]+://", user)
    found = parse_url(normalize_url(f"{scheme[0] if scheme else ''}{address}"))
    host = _known_host(found.host or "")
    port = "" if found.port is None or str(found.port) in _DEFAULT_PORTS else f":{found.port}"
    path = re.sub("/+", "/", found.path or "")
    return f"{host}{port}{_END_OF_PATH.sub('', path)}"


def _known_host(host: str) -> str:
    """The usual spelling of a host: short forms of addresses, `localhost` for loopback."""
    host = host.removesuffix(".")
    if host.startswith("["):
        long = IPv6Address(host[1:-1])
        address: IPv4Address | IPv6Address = long.ipv4_mapped or long
        shown = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    else:
        try:
            # accepts what the system accepts: 127.1, 0x7f000001
            address = IPv4Address(socket.inet_aton(host))
        except OSError:
            return host
        shown = str(address)
    # connections to 0.0.0.0 reach this machine
    return "localhost" if address.is_loopback or address.is_unspecified else shown


def _split(authority: str, address: str) -> tuple[str, str | None]:
    """The host in lower case, and the text of the port."""
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None or (authority.count(":") > 1 and not authority.startswith("[")):
        raise _refused(address, "an IPv6 address stands in brackets, as in '[::1]:8080'")
    return match[1].lower(), match[2]


def _check_host(host: str, address: str) -> None:
    if host.startswith("["):
        try:
            IPv6Address(host[1:-1])
        except AddressValueError as error:
            raise _refused(address, f"{host[1:-1]!r} is no IPv6 address") from error
    elif not host:
        raise _refused(address, "it names no host")
    elif not _HOST_NAME.fullmatch(host) or not _is_encodable(host):
        raise _refused(address, f"{host!r} is no name of a host")


def _is_encodable(host: str) -> bool:
    """Whether a name with non-ASCII letters can be encoded in ASCII."""
    try:
        parse_url(f"https://{host}")
    except LocationParseError:
        return False
    return True


def _refused(address: str, why: str) -> ValueError:
    return ValueError(
        f"{address!r} is not the address of a CVAT server: {why}. One is like 'https://cvat.example.com' or"
        " 'localhost:8080'"
    )


def server_slug(server: str) -> str:
    """A server as part of a name, such as `cvat-example-com`; the same for all spellings of its URL."""
    return slug(server_identity(server))


def slug(text: str) -> str:
    """A text as part of a name, in lower case letters, digits and dashes; different texts differ.

    Dashes in the text are doubled. If it has other characters, such as those of a path, a digest is appended.
    """
    if re.fullmatch(r"[a-z0-9.:-]+", text):
        return re.sub(r"[.:]", "-", text.replace("-", "--"))
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')}-{digest}"
