"""HTTP with the sequencer: one request at a time, failures in the SDK's words, no second attempts."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from ..errors import APIStatusError, ConfigurationError, NetworkError, ResponseError, one_line
from ..http.error_mapping import FAILURES, map_error
from ..http.proxies import proxy_for, ssl_context
from ..protocol.requests import Link

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_SLOWEST_BYTES_PER_SECOND = 20_000
_TEMPORARY = (408, 425, 429)


class SequencerHTTP:
    """An async context manager. Uses the environment's proxies and certificates, as the clients do."""

    def __init__(self, url: str) -> None:
        try:
            self._link = Link.parse(url)
        except ValueError as error:
            raise ConfigurationError(
                f"The address after --sequencer cannot be used: {error}", advice="Write it like http://host:8787."
            ) from None
        self.shown = self._link.shown.rstrip("/")
        self._trusted: ssl.SSLContext | bool = True
        self._session: aiohttp.ClientSession | None = None
        self._is_reached = False

    async def __aenter__(self) -> SequencerHTTP:
        if self._link.scheme == "https":
            self._trusted = await asyncio.to_thread(ssl_context)
        self._session = aiohttp.ClientSession(trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, endpoint: str, body: dict[str, Any], *, wait_seconds: float = 0) -> dict[str, Any]:
        """Post a JSON object and return the one that is answered.

        Raises NetworkError, APIStatusError, or ResponseError.
        """
        link = self._at(f"/{endpoint}")
        raw = await self._send("POST", link, wait_seconds + _ANSWER_SECONDS, json=body)
        return _object(raw, link)

    async def fetch(self, url: str) -> bytes:
        """Get an input. Raises as ``ask`` does."""
        return await self._send("GET", self._own(url), 10 * _ANSWER_SECONDS)

    async def upload(self, url: str, file: Path) -> str:
        """Put a result, and return its key. Raises as ``ask`` does."""
        link = self._own(url)
        seconds = _ANSWER_SECONDS + (await asyncio.to_thread(file.stat)).st_size / _SLOWEST_BYTES_PER_SECOND
        with file.open("rb") as content:
            raw = await self._send("PUT", link, seconds, data=content)
        key = _object(raw, link).get("result")
        if not isinstance(key, str):
            raise _not_the_protocol(link)
        return key

    def _own(self, url: str) -> Link:
        """The same path at the address that this miner was given: a proxy before the sequencer may hide its own."""
        try:
            return self._at(Link.parse(url).target)
        except ValueError:
            raise ResponseError("The sequencer named an address that cannot be used") from None

    def _at(self, path: str) -> Link:
        return replace(self._link, target=self._link.target.partition("?")[0].rstrip("/") + path)

    async def _send(self, method: str, link: Link, seconds: float, **what: Any) -> bytes:
        if self._session is None:
            raise RuntimeError("use it in an `async with` block")
        shown = replace(link, target=re.sub(r"(/miner_(input|upload)/).*", r"\1…", link.target))  # The rest is a token.
        proxy = proxy_for(link)
        headers = {} if link.authorization is None else {"Authorization": link.authorization}
        to_proxy = {}
        if proxy is not None and proxy.authorization is not None:
            to_proxy = {"Proxy-Authorization": proxy.authorization}
            headers |= to_proxy if link.scheme == "http" else {}
        try:
            async with self._session.request(
                method,
                URL(link.origin + link.target, encoded=True),
                headers=headers,
                proxy=None if proxy is None else URL(proxy.origin),
                proxy_headers=to_proxy,
                ssl=self._trusted,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS),
                **what,
            ) as answer:
                raw = await answer.read()
                self._is_reached = True
                if answer.status // 100 != 2:
                    raise APIStatusError(
                        _said(raw), status_code=answer.status, advice=f"It was asked for {shown.shown}."
                    )
                return raw
        except FAILURES as error:
            if isinstance(error, NetworkError):
                raise
            failure = map_error(error, shown, proxy, sent=True, reached=self._is_reached)
            # What worked once may work again: a result waits for that.
            raise failure.derived(transient=failure.transient or self._is_reached) from None


def is_temporary(error: Exception) -> bool:
    """Whether the same request may work later."""
    if isinstance(error, APIStatusError):
        return error.status_code >= 500 or error.status_code in _TEMPORARY
    return isinstance(error, NetworkError) and error.transient


def _said(raw: bytes) -> str:
    text = raw[:2000].decode("utf-8", errors="replace")
    try:
        said = json.loads(text)
        text = str(said.get("message") or said.get("error") or text)
    except (ValueError, AttributeError, RecursionError):
        pass
    return one_line(text)


def _object(raw: bytes, link: Link) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _not_the_protocol(link)
    return value


def _not_the_protocol(link: Link) -> ResponseError:
    return ResponseError(
        f"{link.origin} did not answer as a sequencer does",
        advice="Check that the address after --sequencer leads to `xalora sequencer`.",
    )
