"""The way to a server: proxies and certificates, and how many requests at once."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import certifi

from ..addresses import is_forbidden_name, is_global, literal, look_up
from ..errors import ConfigurationError, DownloadError, NetworkError
from ..protocol.requests import Link


def check_named(link: Link, local: bool) -> None:
    """Raise DownloadError if the host, as it is written, may not be contacted."""
    if is_forbidden_name(link.host, local):
        raise refusal(link.host.rstrip("."))


def refusal(host: str) -> DownloadError:
    """The error for an address that may not be contacted."""
    return DownloadError(
        f"Nothing was downloaded, because the result's address leads into a private network ({host})",
        advice="If you trust that address, fetch the file yourself; otherwise ask support.",
    )


async def is_local(link: Link) -> bool:
    """Whether the host is on this machine or in a private network. Raises OSError if it cannot be resolved."""
    written = literal(link.host)
    found = [written] if written else [ip_address(each["host"]) for each in await look_up(link.host, link.port)]
    return bool(found) and not any(is_global(each) for each in found)


CERTIFICATE_ADVICE = "If a proxy or company certificate is in use, set REQUESTS_CA_BUNDLE to its file."
PROXY_ADVICE = "Set HTTP_PROXY, HTTPS_PROXY or ALL_PROXY to an address like http://host:port, or unset it."


def proxy_for(link: Link) -> Link | None:
    """The proxy to use, or None. Raises NetworkError for a proxy that cannot be used."""
    proxies = getproxies()
    address = proxies.get(link.scheme) or proxies.get("all")
    if not address or _goes_direct(link, proxies.get("no", "")):
        return None
    try:
        return Link.parse(address if "://" in address else f"http://{address}")
    except ValueError as error:
        raise NetworkError(
            f"No connection to {link.shown}: its proxy setting cannot be used ({error})",
            never_sent=True,
            lasting=True,
            advice=PROXY_ADVICE,
        ) from None


def _goes_direct(link: Link, exempt: str) -> bool:
    host = f"[{link.host}]" if ":" in link.host else link.host
    if proxy_bypass(f"{host}:{link.port}"):
        return True
    with suppress(ValueError):
        address = ip_address(link.host)
        for each in exempt.split(","):  # The standard library supports names here, but not networks.
            with suppress(ValueError):
                if address in ip_network(each.strip().strip("[]"), strict=False):
                    return True
    return False


def certificate_authorities() -> str:
    """The file or folder of certificates to trust: the environment's, else certifi's."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        if os.environ.get(name):
            return os.environ[name]
    return certifi.where()


def ssl_context() -> ssl.SSLContext:
    """A context that trusts those authorities. Raises ConfigurationError if they cannot be read."""
    trusted = certificate_authorities()
    try:
        if Path(trusted).is_dir():
            return ssl.create_default_context(capath=trusted)
        return ssl.create_default_context(cafile=trusted)
    except OSError as error:
        raise ConfigurationError(
            f"The certificates in {trusted} cannot be read: {error.strerror}",
            advice="Correct REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE, SSL_CERT_FILE or SSL_CERT_DIR, or unset it.",
        ) from error


AT_ONCE = 16
"""The most requests to one server at the same time."""

ORDINARY_AT_ONCE = 12
"""How many of them may be ordinary: a cancel must not wait behind creates that get no answer."""


class Gate:
    """Limits the requests to one server. Urgent ones go first, the others in order."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # The garbage collector may end a dropped request while this thread holds it.
        self._inside = 0
        self._urgent: deque[Future[None]] = deque()
        self._ordinary: deque[Future[None]] = deque()

    @asynccontextmanager
    async def passed(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and keep it until the end of the block."""
        place: Future[None] = Future()
        with self._lock:
            (self._urgent if urgent else self._ordinary).append(place)
            self._let_in()
        try:
            if not place.done():
                await asyncio.wrap_future(place)
            yield
        finally:
            with self._lock:
                if not place.cancel() and not place.cancelled():  # It had its place, perhaps without having noticed.
                    self._inside -= 1
                self._let_in()

    def _let_in(self) -> None:
        for queue, places in ((self._urgent, AT_ONCE), (self._ordinary, ORDINARY_AT_ONCE)):
            while queue and self._inside < places:
                place = queue.popleft()
                if place.set_running_or_notify_cancel():
                    self._inside += 1
                    place.set_result(None)


_gates: dict[str, Gate] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_gates.clear)  # The requests that hold places do not exist in the child.


def gate_of(origin: str) -> Gate:
    """The gate for that server, one per process."""
    return _gates.setdefault(origin, Gate())
