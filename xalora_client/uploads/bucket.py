"""A bucket of the user's own: its objects are private, and read by links that expire.

obstore signs every request; it goes out over the pack's own HTTP, which has progress, the user's proxies and
certificates, and answers that say what is wrong.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

from ..errors import NetworkError, StorageError
from ..http.retry import retry
from ..http.upload import WebTransport
from ..protocol.requests import Response
from .bucket_errors import MISSING, bucket_error, code_of, no_credentials, region_of, seconds_since
from .credentials import open_store, valid_before_now

logger = logging.getLogger("xalora_client")

TRIES = 5

LONGEST_LINK = 7 * 24 * 3600
"""The longest that S3 and Google sign a link for, in seconds."""

REQUEST_LINK = 900
"""Seconds that the links of our own requests are valid: a slow upload must only begin in time."""

DOWN_SECONDS = 10.0
"""How long no other request is tried after one has failed for good, so that a batch does not wait for each image."""

CHECK_SECONDS = 20.0
"""After so long without an answer, a check is not tried again: somebody waits, and has no progress to see."""

FRESH = 24 * 3600.0
"""Seconds after which an object is stored again before it is used: a lifecycle rule may remove it during the task."""


@dataclass(frozen=True)
class StoredObject:
    """An object in the bucket: its name, its size in bytes, and its age in seconds."""

    name: str
    size: int
    age: float


class Bucket:
    """One bucket. Nothing is contacted before the first call.

    Args:
        url: ``s3://name/prefix``, ``gs://name/prefix`` or ``az://container/prefix``.
        options: Credentials and endpoint by obstore's names. What is missing comes from the provider's variables.
        web: HTTP.
        sleep: ``await sleep(seconds)`` between tries.

    Attributes:
        answered: Whether it has taken a request as we send them: its name, region and credentials are right.
    """

    def __init__(
        self,
        url: str,
        options: Mapping[str, str],
        web: WebTransport,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.url = url
        self.answered: bool = False
        self._options = options
        self._web = web
        self._sleep = sleep
        self._region: str | None = None
        self._store: Any = None
        # Until when nothing else is tried, and why.
        self._down: tuple[float, NetworkError | StorageError] | None = None

    async def has(self, name: str, *, stored: bool = False) -> bool:
        """Whether the object is there and will stay for the time of a task. Raises as ``put``.

        ``stored`` means that it was just stored: a refusal is then about the key, not about a missing object.
        """
        # Not HEAD: its answers have no body, which says what is wrong.
        answer = await self._ask("GET", name, {"Range": "bytes=0-0"}, accepts=(403, 404, 416))
        code = code_of(answer)
        # Without the right to list, S3 answers AccessDenied for what is not there. Anything else is about the key.
        may_be_missing = code == "AccessDenied" and not stored
        if (answer.status == 404 and code in MISSING) or (answer.status == 403 and not may_be_missing):
            raise bucket_error(answer, self.url)
        self.answered = True
        if answer.status not in (200, 206):
            return False
        age = seconds_since(answer, "last-modified")
        return age is None or age < FRESH

    async def put(
        self, name: str, content: bytes, media_type: str, on_sent: Callable[[int, int], object] | None = None
    ) -> None:
        """Store the object in one request, so that it is complete or not there.

        Not in parts that could be resumed: those of a killed run stay, unseen by lists, and cost money.

        ``on_sent(sent, total)`` is called as the bytes go out. Raises StorageError when the bucket refuses the object,
        NetworkError when no complete answer comes back, and ConfigurationError without obstore.
        """
        headers = {"Content-Type": media_type, "Cache-Control": "private, max-age=3600"}
        if self.url.startswith("az:"):
            headers["x-ms-blob-type"] = "BlockBlob"
        await self._ask("PUT", name, headers, content, on_sent=on_sent)

    async def link(self, name: str, seconds: float) -> str:
        """A link that lets anybody read the object for so many seconds. Raises StorageError without credentials."""
        return await self._sign("GET", name, min(seconds, LONGEST_LINK))

    async def remove(self, name: str, tries: int = TRIES) -> None:
        """Remove the object, if it is there. Raises as ``put``."""
        await self._ask("DELETE", name, accepts=(404,), tries=tries)

    async def list_objects(self) -> list[StoredObject]:
        """The objects under the prefix. Raises StorageError when the bucket refuses to say, and NetworkError."""
        if not self.answered:  # A list says neither what is wrong nor in which region the bucket is.
            await self.has("xalora")
        store = await self._opened()
        now = time.time()
        items: list[StoredObject] = []
        try:
            async for page in store.list():
                items += [
                    StoredObject(row["path"], row["size"], now - row["last_modified"].timestamp()) for row in page
                ]
        except (OSError, self._errors()) as error:
            what = f"The bucket {self.url} cannot be listed ({type(error).__name__})"
            raise no_credentials(what, self.url) from None
        return items

    async def _ask(
        self,
        method: str,
        name: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        accepts: tuple[int, ...] = (),
        on_sent: Callable[[int, int], object] | None = None,
        tries: int = TRIES,
    ) -> Response:
        if method != "DELETE" and self._down is not None and time.monotonic() < self._down[0]:
            raise self._down[1].derived() from self._down[1]

        async def send() -> Response:
            url = await self._sign(method, name, REQUEST_LINK)
            try:
                return await self._web.ask(method, url, headers, body, on_sent)
            except NetworkError as error:
                what = f"The bucket {self.url} did not answer: {error.what}"
                # An error of a proxy or a certificate already says what to do.
                code = "bucket_silent" if error.code in ("network", "request_timeout") else error.code
                raise error.derived(what=what, code=code) from error

        async def attempt() -> Response:
            answer = await send()
            region = region_of(answer)
            if region is not None and region != self._region:
                logger.info("The bucket %s is in the region %s", self.url, region)
                self._region, self._store = region, None
                answer = await send()
            if 200 <= answer.status < 300 or answer.status in accepts:
                return answer
            raise bucket_error(answer, self.url)

        give_up = time.monotonic() + (CHECK_SECONDS if method == "GET" else math.inf)
        try:
            answer = await retry(attempt, tries=tries, remaining=lambda: give_up - time.monotonic(), sleep=self._sleep)
        except (NetworkError, StorageError) as error:
            if method != "DELETE":
                self._down = time.monotonic() + DOWN_SECONDS, error
            raise
        if method != "DELETE":
            self._down = None
        return answer

    async def _sign(self, method: str, name: str, seconds: float) -> str:
        store = await self._opened()
        obstore: Any = import_module("obstore")
        try:
            signed: str = await obstore.sign_async(store, method, name, timedelta(seconds=seconds))
        except (OSError, ValueError, self._errors()):  # Its text may hold parts of the credentials.
            what = f"No usable credentials for the bucket {self.url} were found"
            raise no_credentials(what, self.url) from None
        return valid_before_now(signed, store) if self.url.startswith("az:") else signed

    async def _opened(self) -> Any:
        if self._store is None:  # In a thread, because the import takes a moment.
            self._store = await asyncio.to_thread(open_store, self.url, self._options, self._region)
        return self._store

    @staticmethod
    def _errors() -> type[Exception]:
        error: type[Exception] = import_module("obstore.exceptions").BaseError
        return error
