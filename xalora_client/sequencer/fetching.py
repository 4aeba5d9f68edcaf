"""Gets the image of a task, from an http or https address or out of a ``data:`` URI."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from ..http.ssrf import Resolver, is_forbidden, is_forbidden_name
from ..protocol.parameters import decode_data_uri, is_data_uri

MAX_BYTES = 64 * 2**20
FETCH_SECONDS = 60
_REDIRECTS = 10


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
        return await asyncio.wait_for(_fetch(URL(address), local), FETCH_SECONDS)
    except asyncio.TimeoutError:
        raise ImageError(f"the image cannot be fetched: no answer within {FETCH_SECONDS} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if isinstance(error.__cause__, ImageError):
            raise error.__cause__ from None
        raise ImageError(f"the image cannot be fetched: {type(error).__name__}") from error


def read_image(path: Path) -> bytes:
    """The bytes of a file of this server. Raises ImageError for more than 64 MiB, and OSError."""
    _check_bytes(path.stat().st_size)
    return path.read_bytes()


def check_image_host(address: str, *, local: bool) -> None:
    """Raise ImageError for an address whose host, as it is written, is not asked."""
    try:
        host = "" if is_data_uri(address) else URL(address).host or ""
    except ValueError:
        return  # Said when it is fetched.
    if host and is_forbidden_name(host, local):
        raise _refusal(host)


async def _fetch(url: URL, local: bool) -> bytes:
    resolver = Resolver(partial(is_forbidden, local=local), _refusal)
    for _ in range(_REDIRECTS):
        # Each redirect is checked as the first address was: it could lead into a private network.
        check_image_host(str(url), local=local)
        if url.scheme not in ("http", "https") or not url.host:
            raise ImageError("the image cannot be fetched: its address is not http or https")
        proxy, login = _proxy_for(url)
        if proxy is not None:
            with suppress(OSError):  # A name that only the proxy can look up.
                await resolver.resolve(url.host)
        connector = aiohttp.TCPConnector(resolver=None if proxy else resolver, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(url, proxy=proxy, proxy_auth=login, allow_redirects=False) as answer,
        ):
            if answer.status in (301, 302, 303, 307, 308) and answer.headers.get("Location"):
                url = url.join(URL(answer.headers["Location"]))
                continue
            if answer.status != 200:
                raise ImageError(f"the image cannot be fetched: its server answered {answer.status}")
            body = bytearray()
            async for piece in answer.content.iter_chunked(2**16):
                body += piece
                _check_bytes(len(body))
            return bytes(body)
    raise ImageError("the image cannot be fetched: its address redirects too often")


def _proxy_for(url: URL) -> tuple[URL | None, aiohttp.BasicAuth | None]:
    """The environment's proxy for an address, and its login. There is none for this machine itself."""
    host = url.host or ""
    address = getproxies().get(url.scheme) or getproxies().get("all")
    if not address or host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(host):
        return None, None
    proxy = URL(address if "://" in address else f"http://{address}")
    login = None if proxy.user is None else aiohttp.BasicAuth(proxy.user, proxy.password or "")
    return proxy.with_user(None), login


def _refusal(host: str) -> ImageError:
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
