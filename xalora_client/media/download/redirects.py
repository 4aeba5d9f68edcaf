"""Where a download may be sent on to."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from ...errors import DownloadError


def redirected(url: str, location: str) -> str:
    """Where a redirect leads, or DownloadError where it may not lead: it is the server's word, not the user's."""
    try:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
    except ValueError:
        raise DownloadError("The download was redirected to something that is no address") from None
    if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme == "http"):
        raise DownloadError(f"The download was redirected to an unsafe address, {shown(target)}")
    if _is_local(new.hostname) and not _is_local(old.hostname):
        raise DownloadError(f"The download was redirected into a private network, {shown(target)}")
    return target


def _is_local(host: str | None) -> bool:
    host = (host or "").rstrip(".")
    if not host or host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    with suppress(OSError, UnicodeError):
        host = socket.inet_ntoa(socket.inet_aton(host))  # Also "127.1", "0x7f000001" and "2130706433".
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False


def shown(url: str) -> str:
    """The address without its query, which may be signed."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{parts.path}"
