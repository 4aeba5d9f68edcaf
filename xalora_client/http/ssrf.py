"""Which machines may be contacted on behalf of a server, and how names are resolved."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from ..errors import DownloadError
from ..protocol.urls import Link, is_number

Address: TypeAlias = IPv4Address | IPv6Address

# Cloud metadata services, which hold a machine's secrets, on addresses that are not link-local.
_METADATA = {ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")}
# IPv6 networks whose addresses hold an IPv4 address in their last 32 bits.
_TRANSLATED = [IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96")]
_COMPATIBLE = IPv6Network("::/96")
# So do those of ISATAP, in any network: the 32 bits before have this value.
_ISATAP, _ISATAP_MASK = 0x5EFE, 0xFDFF_FFFF
FETCH_YOURSELF = "If you trust that address, fetch the file yourself; otherwise ask support."
# What RFC 6762 says that private networks use, among others: no such name is on the internet.
_LOCAL_NAMES = (
    ".localhost", ".local", ".internal", ".lan", ".home.arpa", ".home", ".corp", ".intranet", ".private",
)  # fmt: skip


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
    if isinstance(address, IPv6Address):
        if (inner := _embedded(address)) is not None:
            return is_forbidden(inner, local)
        if int(address) >> 32 & _ISATAP_MASK == _ISATAP and is_forbidden(_last_32_bits(address), local):
            return True
    return address.is_link_local or address in _METADATA or not (local or is_global(address))


def is_forbidden_name(host: str, local: bool) -> bool:
    """Whether a host, as it is written, may not be contacted. What a name stands for is checked by ``Resolver``.

    A number that is no plain IPv4 address never may, whatever a library makes of it.
    """
    if (address := literal(host)) is not None:
        return is_forbidden(address, local)
    if is_number(host):
        return True
    host = host.rstrip(".")
    return not local and ("." not in host or f".{host}".endswith(_LOCAL_NAMES))


def blocked_address(host: str) -> DownloadError:
    """The error for an address that may not be contacted."""
    return DownloadError(
        f"Nothing was downloaded, because the result's address leads into a private network ({host})",
        advice=FETCH_YOURSELF,
    )


def is_loopback(host: str) -> bool:
    """Whether a host, as it is written, is this machine. "All interfaces" is, too, as an address to connect to."""
    if (address := literal(host)) is not None:
        return address.is_loopback or address.is_unspecified
    return f".{host.rstrip('.')}".endswith(".localhost")


async def is_local(link: Link) -> bool:
    """Whether the host is on this machine or in a private network. Raises OSError if it cannot be resolved."""
    written = literal(link.host)
    found = [written] if written else [ip_address(result["host"]) for result in await look_up(link.host, link.port)]
    return bool(found) and not any(is_global(address) for address in found)


class Resolver(AbstractResolver):
    """Resolves names, without the addresses for which ``is_blocked`` is true.

    ``blocked_error`` makes the error for a name that has no others, from its name and address.
    """

    def __init__(
        self,
        is_blocked: Callable[[Address], bool] = lambda address: False,
        blocked_error: Callable[[str], Exception] = OSError,
    ) -> None:
        self._is_blocked = is_blocked
        self._blocked_error = blocked_error

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of the name. Raises the error if none of them may be contacted."""
        found = await look_up(host, port, family)
        allowed = [result for result in found if not self._is_blocked(ip_address(result["host"]))]
        if found and not allowed:
            self.check(host, found[0]["host"])
        return allowed

    def check(self, host: str, address: str) -> None:
        """Raise the error if the address of a host may not be contacted."""
        if self._is_blocked(ip_address(address)):
            raise self._blocked_error(f"{host} is {address}")

    async def close(self) -> None:
        """Do nothing: no resources are held."""


async def look_up(host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
    """Ask the system for a name's addresses, in a thread that can be abandoned. Raises OSError."""
    answer: Future[list[ResolveResult]] = Future()

    def resolve() -> None:
        try:
            infos = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            answer.set_result([_result(host, *info) for info in infos])
        except Exception as error:  # noqa: BLE001 - raised in the loop
            answer.set_exception(error)

    answer.set_running_or_notify_cancel()  # From here on, nobody can cancel it while the thread writes to it.
    # Not in the loop's own threads: closing the loop would wait for a name server that does not answer.
    threading.Thread(target=resolve, name="xalora-resolver", daemon=True).start()
    return await asyncio.wrap_future(answer)


def _result(name: str, family: int, _type: int, proto: int, _canonical: str, address: tuple[Any, ...]) -> ResolveResult:
    host = address[0]
    if family == socket.AF_INET6 and len(address) > 3 and address[3]:
        host = f"{host}%{address[3]}"
    return ResolveResult(
        hostname=name, host=host, port=address[1], family=family, proto=proto, flags=socket.AI_NUMERICHOST
    )


def literal(host: str) -> Address | None:
    """The IP address that a host is written as; None for a name."""
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
    if any(address in network for network in _TRANSLATED) or (address in _COMPATIBLE and int(address) > 1):
        return _last_32_bits(address)
    return None


def _last_32_bits(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)
