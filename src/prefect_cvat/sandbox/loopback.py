"""Addresses of this machine that no network leads to."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, as nobody else can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
