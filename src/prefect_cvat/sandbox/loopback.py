"""Loopback addresses."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
