"""Gets the image of a task, from an http or https address or out of a ``data:`` URI."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import aclosing, suppress
from functools import cache, partial
from pathlib import Path

from ..errors import XaloraError
from ..http.proxies import proxy_for, ssl_context
from ..http.ssrf import Resolver, is_forbidden, is_forbidden_name
from ..http.transport import FETCH_HEADERS, Exchange
from ..protocol.parameters import decode_data_uri, is_data_uri
from ..protocol.urls import Link

MAX_BYTES = 64 * 2**20
FETCH_SECONDS = 60
_REDIRECTS = 10
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")


class ImageError(Exception):
    """A task's image cannot be used; the text becomes the task's ``msg``."""


async def fetch_image(address: str, *, local: bool) -> bytes:
    """Return the bytes behind an http or https URL or in a ``data:`` URI.

    ``local`` is whether addresses in private networks may be asked. Those of cloud metadata services never are.
    Raises ImageError when there are no bytes, when there are more than 64 MiB, or after 60 seconds.
    """
    if is_data_uri(address):
        # Decoding a large one takes a moment, and the loop must stay free.
        return await asyncio.to_thread(_from_data_uri, address)
    try:
        return await asyncio.wait_for(_fetch(Link.parse(address), local), FETCH_SECONDS)
    except asyncio.TimeoutError:
        raise ImageError(f"the image cannot be fetched: no answer within {FETCH_SECONDS} s") from None
    except XaloraError as error:
        raise ImageError(f"the image cannot be fetched: {error.what}") from error
    except ValueError:
        raise ImageError("the image cannot be fetched: its address is not http or https") from None


def read_image(path: Path) -> bytes:
    """The bytes of a file of this server. Raises ImageError for more than 64 MiB, and OSError."""
    _check_bytes(path.stat().st_size)
    return path.read_bytes()


def check_image_host(address: str, *, local: bool) -> None:
    """Raise ImageError for an address whose host, as it is written, is not asked."""
    with suppress(ValueError):  # One that cannot be read. Said when it is fetched.
        if not is_data_uri(address):
            _check_named(Link.parse(address), local)


async def _fetch(link: Link, local: bool) -> bytes:
    resolver = Resolver(partial(is_forbidden, local=local), _blocked)
    trusted = await asyncio.to_thread(_certificates)
    for _ in range(_REDIRECTS):
        # Each redirect is checked as the first address was: it could lead into a private network.
        _check_named(link, local)
        proxy = None if link.host in _THIS_MACHINE else proxy_for(link)
        if proxy is not None:
            with suppress(OSError):  # A name that only the proxy can look up.
                await resolver.resolve(link.host)
        async with Exchange(link, proxy, resolver if proxy is None else Resolver(), trusted) as exchange:
            answer = await exchange.ask("GET", FETCH_HEADERS)
            location = answer.headers.get("location")
            if answer.status in (301, 302, 303, 307, 308) and location:
                link = link.join(location)
                continue
            if answer.status != 200:
                raise ImageError(f"the image cannot be fetched: its server answered {answer.status}")
            body = bytearray()
            async with aclosing(exchange.pieces()) as pieces:
                async for piece in pieces:
                    body += piece
                    _check_bytes(len(body))
            return bytes(body)
    raise ImageError("the image cannot be fetched: its address redirects too often")


@cache
def _certificates() -> ssl.SSLContext:
    """What servers' certificates are checked against. Reading some hundred takes a while."""
    return ssl_context()


def _check_named(link: Link, local: bool) -> None:
    if is_forbidden_name(link.host, local):
        raise _blocked(link.host)


def _blocked(host: str) -> ImageError:
    return ImageError(
        f"the image is not fetched, because its address leads into a private network ({host}). "
        "Start the sequencer with --allow-private-images to allow that"
    )


def _from_data_uri(uri: str) -> bytes:
    try:
        _, content = decode_data_uri(uri)
    except ValueError as error:
        raise ImageError(f"the image's data: URI cannot be read: {error}") from error
    _check_bytes(len(content))
    return content


def _check_bytes(count: int) -> None:
    if count > MAX_BYTES:
        raise ImageError(f"the image is too large: more than {MAX_BYTES} bytes")
