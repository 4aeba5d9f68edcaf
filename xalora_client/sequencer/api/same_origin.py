"""Whose requests are served: programs, and pages of this server itself. No page of another site.

A browser sends a foreign page's requests to any machine that its user can reach, and says so in headers that no page
can change. Where there are no keys, a name that a page's owner points at this machine (DNS rebinding) must not do
either.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from .errors import HTTPError

CROSS_SITE = "this request comes from a page of another site; only programs are served here"
REBOUND_HOST = "without keys this server answers only to localhost and 127.0.0.1; set keys to reach it by a name"
NO_JSON = "send JSON, with the header Content-Type: application/json"


def check_origin(method: str, headers: Mapping[str, str]) -> None:
    """Raise HTTPError for a request that a page of another site may have caused. Header names have any case."""
    if headers.get("Sec-Fetch-Site", "none").lower() not in ("none", "same-origin"):
        raise HTTPError(403, CROSS_SITE)
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("Host", "").lower():
        raise HTTPError(403, CROSS_SITE)
    if method == "POST" and headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPError(415, NO_JSON)


def check_host(host: str, *, any_address: bool) -> None:
    """Raise HTTPError for a Host header that is no name of this machine.

    Args:
        host: The header, with or without a port.
        any_address: Whether the server listens on more than loopback, so that every IP address may be its own.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    try:
        is_own = ip_address(name).is_loopback or any_address
    except ValueError:
        is_own = name in ("localhost", "localhost.")
    if not is_own:
        raise HTTPError(403, REBOUND_HOST)
