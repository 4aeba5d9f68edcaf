"""The way to a server: proxies and certificates, which machines may be contacted, and how many requests at once."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeAlias
from urllib.request import getproxies, proxy_bypass

import certifi
from aiohttp.abc import AbstractResolver, ResolveResult

from ..errors import ConfigurationError, DownloadError, NetworkError
from ..protocol.requests import Link

Address: TypeAlias = IPv4Address | IPv6Address

# Cloud metadata services, which hold a machine's secrets, on addresses that are not link-local.
_METADATA = {ip_address(each) for each in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")}
# IPv6 networks whose addresses hold an IPv4 address in their last 32 bits.
_TRANSLATED = [IPv6Network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")]
_COMPATIBLE = IPv6Network("::/96")
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def is_global(address: Address) -> bool:
    """Whether the address is on the public internet."""
    if isinstance(address, IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return is_global(inner)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_forbidden(address: Address, local: bool) -> bool:
    """Whether a download may not contact the address; ``local`` says that the sequencer is not on the internet."""
    if isinstance(address, IPv6Address) and (inner := _embedded(address)) is not None:
        return is_forbidden(inner, local)
    return address.is_link_local or address in _METADATA or not (local or is_global(address))


def check_named(link: Link, local: bool) -> None:
    """Raise DownloadError if the host, as it is written, may not be contacted."""
    host = link.host.rstrip(".")
    if (literal := _literal(host)) is not None:
        if is_forbidden(literal, local):
            raise refusal(host)
    elif not local and ("." not in host or f".{host}".endswith(_LOCAL_NAMES)):
        raise refusal(host)


def refusal(host: str) -> DownloadError:
    """The error for an address that may not be contacted."""
    return DownloadError(
        f"Nothing was downloaded, because the result's address leads into a private network ({host})",
        advice="If you trust that address, fetch the file yourself; otherwise ask support.",
    )


class Resolver(AbstractResolver):
    """Resolves names, without the addresses for which ``forbidden`` is true."""

    def __init__(self, forbidden: Callable[[Address], bool] | None = None) -> None:
        self._forbidden = forbidden

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of the name. Raises DownloadError if none of them may be contacted."""
        found = await look_up(host, port, family)
        if self._forbidden is not None:
            allowed = [each for each in found if not self._forbidden(ip_address(each["host"]))]
            if found and not allowed:
                raise refusal(f"{host} is {found[0]['host']}")
            return allowed
        return found

    async def close(self) -> None:
        """Do nothing: no resources are held."""


async def look_up(host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
    """Ask the system for a name's addresses, in a thread that can be abandoned. Raises OSError."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[list[ResolveResult]] = loop.create_future()

    def deliver(outcome: list[ResolveResult] | BaseException) -> None:
        if answered.done():  # The caller no longer waits.
            return
        if isinstance(outcome, BaseException):
            answered.set_exception(outcome)
        else:
            answered.set_result(outcome)

    def work() -> None:
        outcome: list[ResolveResult] | BaseException
        try:
            infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            outcome = [_result(host, *each) for each in infos]
        except Exception as error:  # noqa: BLE001 - carried over to the loop
            outcome = error
        with suppress(RuntimeError):  # The loop was closed.
            loop.call_soon_threadsafe(deliver, outcome)

    # Not in the loop's own threads: closing the loop would wait for a name server that does not answer.
    threading.Thread(target=work, name="xalora-resolver", daemon=True).start()
    return await answered


def _result(name: str, family: int, _type: int, proto: int, _canonical: str, address: tuple[Any, ...]) -> ResolveResult:
    host = address[0]
    if family == socket.AF_INET6 and len(address) > 3 and address[3]:
        host = f"{host}%{address[3]}"
    return ResolveResult(
        hostname=name, host=host, port=address[1], family=family, proto=proto, flags=socket.AI_NUMERICHOST
    )


async def is_local(link: Link) -> bool:
    """Whether the host is on this machine or in a private network. Raises OSError if it cannot be resolved."""
    literal = _literal(link.host)
    found = [literal] if literal else [ip_address(each["host"]) for each in await look_up(link.host, link.port)]
    return bool(found) and not any(is_global(each) for each in found)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one reach."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if any(address in each for each in _TRANSLATED) or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


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
