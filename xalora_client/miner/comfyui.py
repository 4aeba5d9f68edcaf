"""The HTTP client of one ComfyUI. It does not wait for a prompt, does not try again, and bounds every answer."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from ..errors import MediaTooLargeError, StorageError, one_line
from ..http.proxies import ssl_context
from ..http.transport import LEAST_PROGRESS
from ..protocol.miner import LARGEST_RESULT
from .errors import UnexpectedAnswerError, UnreachableError, parse_address

ANSWER_SECONDS = 30.0
"""How long ComfyUI may send nothing: a node that holds Python's lock keeps its HTTP server from answering."""

LARGEST_ANSWER = 64 * 2**20
"""Bytes of an answer in JSON, and of a message of the websocket."""

LEAST_FREE = 256 * 2**20
"""Bytes of this machine's disk that a result leaves free."""

_MOST_VALUES = 3_000_000
"""Values in one answer: ``/object_info`` names every model file in every node that takes one."""

_LONGEST_NAME = 500
_NODE_PREFIX = "Xalora"
_JSON_SECONDS = 300.0
_FILE_SECONDS = 3600.0
_CHUNK = 1 << 18
_PROXY_STATUSES = (502, 503, 504)


class ComfyUI:
    """An async context manager. ``address`` may contain ``user:password@`` and a query.

    Each request carries these, and ``display_url`` is without them.

    Every method raises UnreachableError when no answer comes, and UnexpectedAnswerError for a status outside 2xx and an
    answer that is too large.
    """

    def __init__(self, address: str, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        link = parse_address(address, "--comfyui", "http://127.0.0.1:8188")
        login = {} if link.authorization is None else {"Authorization": link.authorization}
        self._headers = {"Accept-Encoding": "identity"} | login
        path, mark, query = link.target.partition("?")
        self._base = URL(link.origin + path.rstrip("/"))
        self._query = mark + query
        self.display_url: str = str(self._base)
        self._answer_seconds = answer_seconds

    async def __aenter__(self) -> ComfyUI:
        trusted = await asyncio.to_thread(ssl_context) if self._base.scheme == "https" else True
        # Direct, without the environment's proxies: ComfyUI is on this machine or near it.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusted),
            headers=self._headers,
            timeout=self._timeout(),
            trust_env=False,
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def _timeout(self, total: float | None = None, silence: float | None = None) -> aiohttp.ClientTimeout:
        seconds = self._answer_seconds
        return aiohttp.ClientTimeout(total=total, sock_connect=seconds, sock_read=silence or seconds)

    def _url(self, path: str) -> URL:
        return URL(f"{self._base / path}{self._query}", encoded=True)  # As it was written: it may be signed.

    async def object_info(self) -> dict[str, Any]:
        """The node classes it has, with their widgets, ranges and model files. Slow disks make that take minutes."""
        return await self._json("GET", "object_info", silence=_JSON_SECONDS)

    async def system_stats(self) -> dict[str, str]:
        """Its version and its device, for people."""
        stats = await self._json("GET", "system_stats")
        devices = stats.get("devices")
        device = devices[0] if isinstance(devices, list) and devices and isinstance(devices[0], dict) else {}
        return {
            "comfyui": one_line(_text(_object(stats.get("system")).get("comfyui_version")) or "unknown", 40),
            "device": one_line(_text(device.get("name")) or "unknown", 80),
        }

    async def upload(self, content: bytes, name: str, content_type: str) -> str:
        """Store an input image in its temporary folder, which it empties when it starts.

        Returns the value for an image widget, such as "fox.png [temp]".
        """
        form = aiohttp.FormData()
        form.add_field("image", io.BytesIO(content), filename=name, content_type=content_type)
        form.add_field("type", "temp")
        stored = await self._json("POST", "upload/image", data=form)
        folder = _text(stored.get("subfolder"))
        value = f"{folder}/{_text(stored.get('name'))}" if folder else _text(stored.get("name"))
        if not value or not value.isprintable() or len(value) > _LONGEST_NAME:
            raise UnexpectedAnswerError(f"{self.display_url} stored an image under a name that cannot be used", 200)
        return f"{value} [temp]"

    async def post_prompt(
        self, prompt: Mapping[str, Any], prompt_id: str, client_id: str
    ) -> tuple[int, dict[str, Any]]:
        """Queue a prompt. Returns the status, of which 400 and 409 mean something, and the answer."""
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": client_id}
        async with self._answer("POST", "prompt", json=body, allowed=(400, 409)) as answer:
            with suppress(UnexpectedAnswerError):
                return answer.status, await self._read_json(answer)
            return answer.status, {}

    async def queue(self) -> tuple[dict[str, str], dict[str, str], str | None]:
        """The prompts that run, and those that wait: their clients' ids by prompt id.

        Third, a prompt that runs and has Xalora nodes, which may wait for a task themselves; None without one.
        """
        answer = await self._json("GET", "queue")
        running = answer.get("queue_running")
        waits_for_task = (
            _text(item[1])
            for item in (running if isinstance(running, list) else [])
            if isinstance(item, list) and len(item) > 2
            for node in _object(item[2]).values()
            if _text(_object(node).get("class_type")).startswith(_NODE_PREFIX)
        )
        return _clients(running), _clients(answer.get("queue_pending")), next(waits_for_task, None)

    async def history(self, prompt_id: str) -> dict[str, Any] | None:
        """How a prompt ended, or None when it is not in the history."""
        entry = (await self._json("GET", f"history/{prompt_id}")).get(prompt_id)
        return entry if isinstance(entry, dict) else None

    async def forget(self, prompt_id: str) -> None:
        """Remove a prompt from the history, which is kept in memory."""
        await self._send("history", {"delete": [prompt_id]})

    async def interrupt(self, prompt_id: str) -> None:
        """Remove a prompt from the queue, and set the flag that stops it when it is the one that runs."""
        await self._send("queue", {"delete": [prompt_id]})
        await self._send("interrupt", {"prompt_id": prompt_id})

    async def download(self, file: Mapping[str, str], path: Path) -> None:
        """Fetch an output file. ``file`` has ComfyUI's filename, subfolder and type.

        Raises StorageError, and MediaTooLargeError for a file that is larger than a result may be.
        """
        received = 0

        def store(chunk: bytes) -> None:
            if shutil.disk_usage(path.parent).free < LEAST_FREE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            target.write(chunk)

        async with self._answer("GET", "view", seconds=_FILE_SECONDS, params=dict(file)) as answer:
            try:
                with path.open("wb") as target:
                    async for chunk in self._chunks(answer):
                        received += len(chunk)
                        if received > LARGEST_RESULT:
                            most = f"{LARGEST_RESULT // 2**20} MiB"
                            what = f"The result is larger than {most}, the most that a sequencer accepts"
                            raise MediaTooLargeError(what)
                        await asyncio.to_thread(store, chunk)
                if not received:
                    raise self._unexpected(answer, ": /view gave an empty file")
            except OSError as error:
                if isinstance(error, aiohttp.ClientError | asyncio.TimeoutError):
                    raise
                raise StorageError(
                    f"The result cannot be stored in {path.parent}: {error.strerror}",
                    advice="Free some space there, or set TMPDIR to another folder.",
                ) from error

    @asynccontextmanager
    async def websocket(self, client_id: str) -> AsyncIterator[Any]:
        """A connection on which ComfyUI reports on the prompts of ``client_id``; it yields ``aiohttp.WSMessage``."""
        url = self._url("ws").extend_query(clientId=client_id)
        try:
            # ComfyUI sends previews in one message each. A heartbeat notices a lost connection.
            async with self._session.ws_connect(url, max_msg_size=LARGEST_ANSWER, heartbeat=ANSWER_SECONDS) as socket:
                yield socket
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise self._unreachable(error) from None

    async def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        async with self._answer(method, path, **request) as answer:
            return await self._read_json(answer)

    async def _chunks(self, answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The answer's body. One that hardly moves is given up: a byte now and then is no progress."""
        moved, received, since = 0, 0, time.monotonic()
        async for chunk in answer.content.iter_chunked(_CHUNK):
            yield chunk
            received += len(chunk)
            if received >= moved + LEAST_PROGRESS:
                moved, since = received, time.monotonic()
            elif time.monotonic() - since > self._answer_seconds:
                raise asyncio.TimeoutError

    async def _read_json(self, answer: aiohttp.ClientResponse) -> dict[str, Any]:
        content = bytearray()
        async for chunk in self._chunks(answer):
            content += chunk
            if len(content) > LARGEST_ANSWER:
                content.clear()  # The error's traceback holds on to it.
                raise self._unexpected(answer, f": its answer is larger than {LARGEST_ANSWER // 2**20} MiB")
        if sum(content.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES:
            raise self._unexpected(answer, f": its answer has more than {_MOST_VALUES:,} values")
        with suppress(ValueError, RecursionError):
            value = await asyncio.to_thread(json.loads, content)  # Often some megabytes.
            if isinstance(value, dict):
                return value
        raise self._unexpected(answer)

    async def _send(self, path: str, body: dict[str, Any]) -> None:
        async with self._answer("POST", path, json=body):
            pass

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        *,
        allowed: tuple[int, ...] = (),
        seconds: float = _JSON_SECONDS,
        silence: float | None = None,
        **request: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url, timeout = self._url(path), self._timeout(seconds, silence)
        try:
            async with self._session.request(method, url, timeout=timeout, allow_redirects=False, **request) as answer:
                if answer.status in _PROXY_STATUSES:
                    raise UnreachableError(f"No ComfyUI behind {self.display_url}: HTTP {answer.status}")
                if not 200 <= answer.status < 300 and answer.status not in allowed:
                    raise self._unexpected(answer, f": /{path} gave HTTP {answer.status}")
                if answer.headers.get("Content-Encoding", "identity") != "identity":  # It may become gigabytes.
                    raise self._unexpected(answer, f": /{path} is compressed, which was not asked for")
                yield answer
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            if isinstance(error, UnreachableError):
                raise
            raise self._unreachable(error) from None

    def _unexpected(self, answer: aiohttp.ClientResponse, reason: str = "") -> UnexpectedAnswerError:
        return UnexpectedAnswerError(f"{self.display_url} did not answer as a ComfyUI does{reason}", answer.status)

    def _unreachable(self, error: BaseException) -> UnreachableError:
        # aiohttp's own texts may contain the whole address.
        refused = isinstance(getattr(error, "os_error", error), ConnectionRefusedError)
        late = isinstance(error, TimeoutError | asyncio.TimeoutError)
        reason = "nobody listens there" if refused else "no answer in time" if late else "the connection broke"
        if isinstance(error, aiohttp.ClientConnectorCertificateError):
            reason = "its certificate is not trusted; if it is yours, set REQUESTS_CA_BUNDLE to its authority's file"
        what = f"No connection to ComfyUI at {self.display_url}: {reason}"
        return UnreachableError(what, connection_refused=refused)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _clients(items: Any) -> dict[str, str]:
    """The prompts' clients by prompt id, from a part of the queue: ``[number, prompt_id, prompt, extra_data, ...]``."""
    return {
        _text(item[1]): _text(_object(item[3]).get("client_id")) if len(item) > 3 else ""
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, list) and len(item) > 1
    }
