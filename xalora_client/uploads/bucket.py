"""Images in a bucket of the user's own: named by their content, private, and read by links that expire.

obstore signs every request; it goes out over the pack's own HTTP, which has progress, the user's proxies and
certificates, and answers that say what is wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import NetworkError, StorageError
from ..protocol.requests import Response
from .refusals import CREDENTIALS_ADVICE, MISSING, code_of, is_passing, refusal, region_of
from .store import open_store, valid_before_now
from .web import TRIES, OnSent, PassingError, Sleep, Web, logger, with_retries

LONGEST_LINK = 7 * 24 * 3600
"""The longest that S3 and Google sign a link for, in seconds."""

REQUEST_LINK = 900
"""Seconds that the links of our own requests are valid: a slow upload must only begin in time."""

CREATED_NOTHING = "No task was created. "
"""Begins what errors advise. It is left out where no create follows."""

DOWN_SECONDS = 10.0
"""How long other images are not tried after one has failed for good: a whole batch need not wait as long as one."""

LOOK_SECONDS = 20.0
"""After so long without an answer, a look is not tried again: somebody waits, and has no progress to see."""

FRESH = 24 * 3600.0
"""Seconds after which an object is stored again before it is used: a lifecycle rule may remove it during the task."""


# Not Python's own table: it differs between versions and systems, and an object has one name.
_EXTENSIONS = {
    "image/avif": ".avif",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tiff",
    "image/webp": ".webp",
}


@dataclass(frozen=True)
class Stored:
    """An object of ours in the bucket: its name, its size in bytes, and its age in seconds."""

    name: str
    size: int
    age: float


class Bucket:
    """One bucket. Nothing is contacted before the first call.

    Args:
        place: ``s3://name/prefix``, ``gs://name/prefix`` or ``az://container/prefix``.
        options: Credentials and endpoint by obstore's names. What is missing comes from the provider's variables.
        web: HTTP.
        sleep: ``await sleep(seconds)`` between tries.
    """

    def __init__(self, place: str, options: Mapping[str, str], web: Web, sleep: Sleep = asyncio.sleep) -> None:
        self.place = place
        self._options = options
        self._web = web
        self._sleep = sleep
        self._region: str | None = None
        self._store: Any = None
        self._answered = False
        # Until when other images are not tried, the error, and what it says behind its subject.
        self._down: tuple[float, NetworkError | StorageError, str] | None = None

    async def has(
        self, name: str, about: str = "The image", *, stored: bool = False, doing: str = "was not uploaded"
    ) -> bool:
        """Whether the object is there and will stay for the time of a task. Raises as ``put``.

        ``stored`` says that it was just stored: then a key that may not read is told from an object that is not there.
        """
        # Not HEAD: its answers have no body, which says what is wrong.
        answer = await self._ask("GET", name, about, {"Range": "bytes=0-0"}, accepts=(403, 404, 416), doing=doing)
        code = code_of(answer)
        # Without leave to list, S3 says AccessDenied of what is not there. Anything else is about the key.
        may_be_missing = code == "AccessDenied" and not stored
        if (answer.status == 404 and code in MISSING) or (answer.status == 403 and not may_be_missing):
            raise refusal(answer, self.place, f"{about} {doing}")
        if answer.status not in (200, 206):
            return False
        try:
            age = answer.received - parsedate_to_datetime(answer.headers.get("last-modified", "")).timestamp()
        except (TypeError, ValueError):
            return True
        return age < FRESH

    async def put(
        self, name: str, content: bytes, media_type: str, about: str = "The image", on_sent: OnSent | None = None
    ) -> None:
        """Store the object in one request, so that it is whole or not there.

        Not in parts that could be resumed: those of a killed run stay, unseen by lists, and cost money.

        ``about`` is what messages call it. Raises StorageError when the bucket refuses it, NetworkError when no
        complete answer comes back, and ConfigurationError without obstore.
        """
        headers = {"Content-Type": media_type, "Cache-Control": "private, max-age=3600"}
        if self.place.startswith("az:"):
            headers["x-ms-blob-type"] = "BlockBlob"
        await self._ask("PUT", name, about, headers, content, on_sent=on_sent)

    async def link(self, name: str, seconds: float) -> str:
        """A link that lets anybody read the object for so many seconds. Raises StorageError without credentials."""
        return await self._sign("GET", name, min(seconds, LONGEST_LINK), "The image has no link")

    async def remove(self, name: str, tries: int = TRIES) -> None:
        """Remove the object, if it is there. Raises as ``put``."""
        await self._ask("DELETE", name, "The image", accepts=(404,), doing="was not removed", tries=tries)

    async def stored(self, folder: str = "", at_most: int | None = None) -> list[Stored]:
        """The objects under the prefix, or in one folder of it: all of them, or no more pages once ``at_most`` is met.

        Raises StorageError when the bucket refuses to say, and NetworkError when it does not answer.
        """
        if not self._answered:
            # A list says neither what is wrong nor in which region the bucket is.
            try:
                await self.has("xalora", "The bucket", doing="cannot be listed")
            except (NetworkError, StorageError) as error:
                raise error.derived(advice=error.advice.removeprefix(CREATED_NOTHING)) from error
        store = await self._opened()
        now = time.time()
        found: list[Stored] = []
        try:
            async for page in store.list(folder or None):
                found += [Stored(each["path"], each["size"], now - each["last_modified"].timestamp()) for each in page]
                if at_most is not None and len(found) >= at_most:
                    break
        except (OSError, self._errors()) as error:
            raise StorageError(
                f"The bucket {self.place} cannot be listed ({type(error).__name__})",
                advice=CREDENTIALS_ADVICE[self.place.partition(":")[0]],
            ) from None
        return found

    async def _ask(
        self,
        method: str,
        name: str,
        about: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        accepts: tuple[int, ...] = (),
        doing: str = "was not uploaded",
        on_sent: OnSent | None = None,
        tries: int = TRIES,
    ) -> Response:
        subject = f"{about} {doing}"
        if method != "DELETE" and self._down is not None and time.monotonic() < self._down[0]:
            _, error, said = self._down
            raise error.derived(what=f"{subject}{said}") from error

        async def answered() -> Response:
            url = await self._sign(method, name, REQUEST_LINK, subject)
            return await self._web.ask(method, url, headers, body, on_sent)

        async def attempt() -> Response:
            answer = await answered()
            region = region_of(answer)
            if region is not None and region != self._region:
                logger.info("The bucket %s is in the region %s", self.place, region)
                self._region, self._store = region, None
                answer = await answered()
            self._answered = True
            if 200 <= answer.status < 300 or answer.status in accepts:
                return answer
            error = refusal(answer, self.place, subject)
            raise PassingError(error) if is_passing(answer) else error

        try:
            answer = await with_retries(attempt, self._sleep, tries, LOOK_SECONDS if method == "GET" else math.inf)
        except (NetworkError, StorageError) as error:
            what, advice = error.what, error.advice
            if isinstance(error, NetworkError):
                what = f"{subject}, because the bucket {self.place} did not answer: {error.what}"
                advice = f"{CREATED_NOTHING}Check the network, the proxy and the bucket's endpoint, then try again."
            if method == "DELETE":
                advice = advice.removeprefix(CREATED_NOTHING)
            failure = error.derived(what=what, advice=advice)
            if method != "DELETE":
                self._down = time.monotonic() + DOWN_SECONDS, failure, what.removeprefix(subject)
            raise failure from error
        self._down = None
        return answer

    async def _sign(self, method: str, name: str, seconds: float, doing: str) -> str:
        try:
            store = await self._opened()
        except StorageError as error:
            raise error.derived(what=f"{doing}: {error.what[:1].lower()}{error.what[1:]}") from error
        obstore: Any = import_module("obstore")
        try:
            signed: str = await obstore.sign_async(store, method, name, timedelta(seconds=seconds))
        except (OSError, ValueError, self._errors()):  # Its text may hold parts of the credentials.
            raise StorageError(
                f"{doing}: no usable credentials for the bucket {self.place} were found",
                advice=f"No task was created. {CREDENTIALS_ADVICE[self.place.partition(':')[0]]}",
            ) from None
        return valid_before_now(signed, store) if self.place.startswith("az:") else signed

    async def _opened(self) -> Any:
        if self._store is None:  # In a thread, because the import takes a moment.
            self._store = await asyncio.to_thread(open_store, self.place, self._options, self._region)
        return self._store

    @staticmethod
    def _errors() -> type[Exception]:
        error: type[Exception] = import_module("obstore.exceptions").BaseError
        return error


def folder_of(home: Path) -> str:
    """The folder in the bucket for the images of one home on one machine, so that none removes another's."""
    return hashlib.sha256(f"{platform.node()}\0{home.absolute()}".encode()).hexdigest()[:10]


def object_name(folder: str, sha256: str, media_type: str) -> str:
    """The name of an image's object."""
    return f"{folder}/{sha256}{_EXTENSIONS.get(media_type.lower(), '')}"
