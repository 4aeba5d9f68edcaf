"""Whom a download may contact. A result's address is the server's word, and a redirect is anybody's.

Addresses of this machine and of private networks are asked only where the sequencer is on such an address itself;
link-local ones, where clouds keep their machines' secrets, never. What counts is what is connected to.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from ..errors import DownloadError
from ..protocol.links import Link

Address: TypeAlias = IPv4Address | IPv6Address

# Of clouds whose service for a machine's secrets is not on a link-local address.
_METADATA = {ip_address("fd00:ec2::254"), ip_address("100.100.100.200")}
_TRANSLATED = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")
_LOCAL_NAMES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def is_global(address: Address) -> bool:
    """Whether the address is one of the public internet."""
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
    """Raise DownloadError where the host, as it is written, may not be contacted."""
    host = link.host.rstrip(".")
    if (literal := _literal(host)) is not None:
        if is_forbidden(literal, local):
            raise refusal(host)
    elif not local and ("." not in host or f".{host}".endswith(_LOCAL_NAMES)):
        raise refusal(host)


def refusal(host: str) -> DownloadError:
    """The error for an address that is not asked."""
    return DownloadError(
        f"The result's address leads into a private network ({host}), where this download may not go",
        advice="Nothing was sent there. If you trust that address, fetch the file yourself; else ask support.",
    )


class Resolver(AbstractResolver):
    """Looks names up, and leaves out the addresses that ``forbidden`` is true for."""

    def __init__(self, forbidden: Callable[[Address], bool] | None = None) -> None:
        self._forbidden = forbidden

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of the name. Raises DownloadError where none of them may be contacted."""
        found = await look_up(host, port, family)
        if self._forbidden is not None:
            allowed = [each for each in found if not self._forbidden(ip_address(each["host"]))]
            if found and not allowed:
                raise refusal(f"{host} is {found[0]['host']}")
            return allowed
        return found

    async def close(self) -> None:
        """Nothing is held."""


async def look_up(host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
    """Ask the system for a name's addresses, in a thread that nobody has to wait for. Raises OSError."""
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[list[ResolveResult]] = loop.create_future()

    def deliver(outcome: list[ResolveResult] | BaseException) -> None:
        if answered.done():  # Given up.
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
        with suppress(RuntimeError):  # The loop is gone.
            loop.call_soon_threadsafe(deliver, outcome)

    # Not the loop's own threads: its end would wait for a name server that does not answer.
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
    """Whether the host is on this machine or in a private network; raises OSError where it cannot be found out."""
    literal = _literal(link.host)
    found = [literal] if literal else [ip_address(each["host"]) for each in await look_up(link.host, link.port)]
    return bool(found) and not any(is_global(each) for each in found)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to this one end at."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address in _TRANSLATED or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
