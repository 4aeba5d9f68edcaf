"""The network as this process sees it: every connection is noted, and none leaves the machine.

A client decides by addresses whom it contacts. Here a name has the addresses that the case gives it, and a connection
to the one public address that there is ends at 127.0.0.1, at the same port. Any other is refused after it was noted.
"""

from __future__ import annotations

import _socket
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

PUBLIC = "93.184.216.34"
_LOCAL = {"localhost": ("127.0.0.1",), "127.0.0.1": ("127.0.0.1",)}

_look_up = socket.getaddrinfo


class Network:
    """``contacts`` are the addresses that were connected to, or would have been."""

    def __init__(self, names: Mapping[str, tuple[str, ...]]) -> None:
        self.names = _LOCAL | dict(names)
        self.contacts: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Be the network of this process."""
        network = self

        def connect(self: socket.socket, address: Any) -> None:
            _socket.socket.connect(self, network.destination(self, address))

        def connect_ex(self: socket.socket, address: Any) -> int:
            try:
                return _socket.socket.connect_ex(self, network.destination(self, address))
            except OSError as error:
                return error.errno or errno.ENETUNREACH

        def getaddrinfo(host: Any, port: Any, *more: Any, **options: Any) -> Any:
            return network.look_up(host, port, *more, **options)

        socket.socket.connect, socket.socket.connect_ex = connect, connect_ex  # type: ignore[method-assign]
        socket.getaddrinfo = getaddrinfo
        try:
            yield
        finally:
            socket.getaddrinfo = _look_up
            del socket.socket.connect, socket.socket.connect_ex

    def destination(self, sock: socket.socket, address: Any) -> Any:
        """Where a connection to the address really goes. Raises OSError where it goes nowhere."""
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return address
        self.contacts.append(address[0])
        if address[0] == PUBLIC:
            return ("127.0.0.1", address[1])
        if address[0] == "127.0.0.1":
            return address
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    def look_up(self, host: Any, port: Any, *more: Any, **options: Any) -> Any:
        """The addresses of a name that the case knows; an address in any spelling is its own."""
        if isinstance(host, bytes):
            host = host.decode("ascii")
        name = (host.encode("idna").decode() if host else "").lower().rstrip(".")
        addresses = self.names.get(name, ())
        if not addresses and _is_address(name):
            addresses = (name,)
        found = [each for address in addresses for each in _look_up(address, port, *more, **options)]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found


def _is_address(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        try:
            socket.inet_aton(name)
        except OSError:
            return False
    return True
