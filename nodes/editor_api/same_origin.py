"""Who may use our routes: the editor that this ComfyUI itself serves, and programs that are no browsers.

ComfyUI's own checks end where ``--enable-cors-header`` is set, and do not cover a name that a page's owner points at
this machine (DNS rebinding). A browser says where a request comes from in headers that no page can change.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

_LOCAL_SUFFIXES = (".localhost", ".local", ".lan", ".home.arpa", ".internal")
"""Names that nobody can register."""

CROSS_SITE = "This request comes from another site. Use the editor that this ComfyUI serves."
REBOUND_HOST = "Open ComfyUI by https, by its IP address or as localhost to use Xalora's settings and tasks."
NOT_JSON = "Send JSON, with the header Content-Type: application/json."


def problem(method: str, headers: Mapping[str, str]) -> str | None:
    """Why a request is not allowed, or None. ``headers`` are found without regard to case."""
    if method == "POST" and headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return NOT_JSON
    site = headers.get("Sec-Fetch-Site", "")
    if site == "same-origin":
        # Browsers send it only to https and to this machine itself. Rebinding cannot get there by either.
        return None
    if site not in ("", "none"):
        return CROSS_SITE
    host, origin = headers.get("Host", "").lower(), headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != host:
        return CROSS_SITE
    return None if _is_local_name(host) else REBOUND_HOST


def _is_local_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        ipaddress.ip_address(name)
    except ValueError:
        name = host.rpartition(":")[0] or host
        return "." not in name or name.endswith(_LOCAL_SUFFIXES) or name == socket.gethostname().lower()
    return True
