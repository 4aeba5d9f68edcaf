"""An address for each input of a task, by the method that the settings choose.

In a bucket, an object is named by its job and its content: ``<folder of the home>/<job id>/<sha256><extension>``. The
ledger has the job before the upload begins. So a later run that sends the same job again finds what is there already,
and whoever sees the job's end knows what to remove. No two jobs share an object.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import platform
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from weakref import WeakKeyDictionary

from ..config import Config
from ..config.validation import AUTO, BY_BUCKET, BY_DATA_URI, BY_SEQUENCER, is_public
from ..errors import ConfigurationError, InvalidParameterError, NetworkError, StorageError, XaloraError
from ..http.upload import WebTransport
from ..protocol import inputs as images
from ..protocol.inputs import InputImage, images_in, stored_hashes
from ..protocol.parameters import encode_data_uri
from ..protocol.requests import CreateRequest
from ..protocol.tasks import WorkflowTask
from ..protocol.urls import expiry
from .bucket import Bucket
from .slots import EncoderSlot, UploadLimiter
from .to_sequencer import SequencerUploads

logger = logging.getLogger("xalora_client")

LARGEST_INLINE = 32 * 1024 * 1024
"""The most bytes of an input that travels inside the create."""

DEFAULT_TASK_SECONDS = 24 * 3600
"""How long a link is valid for a task without ``timeout_seconds``."""

MARGIN = 3600
"""Seconds that a link is valid longer than its task may take: for queues, and for clocks that differ."""

REMOVAL_SECONDS = 10.0
"""The longest that a removal may take: a finished result and a canceled run wait for it."""

REMOVAL_TRIES = 2

PAUSE_SECONDS = 60.0
"""After a removal without an answer, how long no other is tried, so that results wait for a silent bucket once."""

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
class UploadProgress:
    """How much of one image has been uploaded.

    Attributes:
        name: What messages call the image.
        sent: Bytes sent so far. It starts again when an upload is tried again.
        total: Bytes of the encoded image.
    """

    name: str
    sent: int
    total: int


OnUpload = Callable[[UploadProgress], object]

Claimed = tuple[CreateRequest, bool]
"""A job that the ledger has, and whether an earlier run may have sent it, or uploaded inputs of it, before."""


class Uploads:
    """The inputs of one client's tasks. It may be used on several event loops, one after the other.

    Whoever calls it for a job has the exclusive right to it: no two calls for one job run at once.

    Args:
        config: The settings, which choose the method.
        url: The sequencer's address.
        at_once: The most inputs that are held encoded at a time.
        sleep: ``await sleep(seconds)`` between tries.
    """

    def __init__(
        self,
        config: Config,
        url: str,
        at_once: int = 8,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._config = config
        self._at_once = at_once
        self._limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, UploadLimiter] = WeakKeyDictionary()
        web = WebTransport()
        self._sequencer = SequencerUploads(url, web, sleep)
        self._sequencer_takes_uploads: bool | None = None
        self._folder = folder_of(config.home)
        self._bucket: Bucket | None = None
        if config.bucket and config.image_delivery in (AUTO, BY_BUCKET):
            self._bucket = Bucket(config.bucket, config.bucket_options, web, sleep)
        self._may_read = False
        # By job id, then by the input's hash: the object's name, or the address at the sequencer.
        self._ahead: dict[str, dict[str, str]] = {}
        # By job id: what may be in the bucket.
        self._objects: dict[str, set[str]] = {}
        self._unremoved: set[str] = set()
        # Uploads that were canceled. If all of one was sent, it may be stored only after its removal.
        self._cut: set[str] = set()
        self._paused_until = 0.0

    @property
    def removes(self) -> bool:
        """Whether anything is to be removed after a task."""
        return self._bucket is not None and not self._config.bucket_keep

    @property
    def has_leftovers(self) -> bool:
        """Whether ``close`` has something to do."""
        return bool(self._unremoved or self._cut)

    async def upload_ahead(
        self,
        task: WorkflowTask,
        claim: Callable[[], Awaitable[Claimed | None]],
        on_upload: OnUpload | None = None,
    ) -> None:
        """Upload a task's inputs ahead of its create. Those that travel inside the create stay where they are.

        ``claim()`` is awaited when it is the task's turn and there is something to upload. It writes the job into the
        ledger, for which it hashes the inputs, or returns None when nothing is to be uploaded. Raises as
        ``with_addresses``.
        """
        limiter = self._limiter()
        async with limiter.uploads:
            inputs = await asyncio.to_thread(images_in, task.task_details)
            if not inputs or await self._choose(inputs) == BY_DATA_URI:
                return
            slot = EncoderSlot(limiter.encoders)
            try:
                await slot.take()
                claimed = await claim()
                if claimed is not None:
                    request, resent = claimed
                    self._ahead[request.job_id] = await self._upload(request, inputs, slot, on_upload, resent=resent)
            finally:
                slot.leave()

    async def with_addresses(self, request: CreateRequest, *, resent: bool = False) -> Any:
        """The task's details with an address for each input in them; what was not uploaded ahead is uploaded.

        ``resent`` says that an earlier run may have uploaded inputs of this job. Then the bucket is asked for them.

        Raises ConfigurationError when no method can be used, StorageError when the bucket refuses an input,
        APIStatusError when the sequencer does, InvalidParameterError when a signed link has expired or an input cannot
        be encoded, and NetworkError when no complete answer comes back. Each says that nothing was sent.
        """
        details = request.task.task_details
        try:
            _check_links(details)
        except RecursionError:  # The create refuses it.
            return details
        inputs = await asyncio.to_thread(images_in, details)
        if not inputs:
            return details
        limiter = self._limiter()
        try:
            if await self._choose(inputs) == BY_DATA_URI:
                addresses = await self._inline(inputs, limiter)
            else:
                addresses = self._ahead.pop(request.job_id, {})
                if not {await asyncio.to_thread(file.sha256) for file in inputs} <= addresses.keys():
                    async with limiter.uploads:
                        slot = EncoderSlot(limiter.encoders)
                        addresses = await self._upload(request, inputs, slot, resent=resent)
                if self._bucket is not None:
                    seconds = (request.task.timeout_seconds or DEFAULT_TASK_SECONDS) + MARGIN
                    addresses = {sha256: await self._bucket.link(name, seconds) for sha256, name in addresses.items()}
        except XaloraError as error:
            raise error.derived(sent="no") from error
        return await asyncio.to_thread(images.with_addresses, details, lambda file: addresses[file.sha256()])

    async def remove(self, job_id: str, parameters: Any = None) -> None:
        """Remove what was uploaded for a job that has ended, or that was never sent. What fails is logged.

        ``parameters`` are the job's in the ledger: they tell what earlier runs uploaded. This takes little more than
        REMOVAL_SECONDS. What is not removed by then is tried again in ``close``.
        """
        self._ahead.pop(job_id, None)
        names = self._objects.pop(job_id, set())
        if self.removes:
            earlier = {object_name(self._folder, job_id, *stored) for stored in stored_hashes(parameters)}
            await self._remove(names | earlier)

    async def close(self) -> None:
        """Try once more to remove what could not be removed."""
        self._paused_until = 0.0
        await self._remove(self._unremoved | self._cut)
        if self._unremoved:
            logger.warning("%s", StorageError(code="inputs_stay", params={"count": len(self._unremoved)}))

    async def _choose(self, inputs: list[InputImage]) -> str:
        if self._bucket is not None:
            return BY_BUCKET
        method, public = self._config.image_delivery, is_public(self._config.workflow_url)
        if method == BY_BUCKET:
            raise _no_way("images go by a bucket, and no bucket is set")
        if method != BY_DATA_URI and not public:
            if self._sequencer_takes_uploads is None:
                self._sequencer_takes_uploads = await self._sequencer.offered()
            if self._sequencer_takes_uploads:
                return BY_SEQUENCER
        if method == BY_SEQUENCER:
            raise _no_way("this sequencer takes no uploads of images")
        if public:
            name = inputs[0].name
            raise _no_way(f"{name} has no address, and the public network's miners fetch only by http or https")
        return BY_DATA_URI

    async def _inline(self, inputs: list[InputImage], limiter: UploadLimiter) -> dict[str, str]:
        addresses: dict[str, str] = {}
        for file in inputs:
            sha256 = await asyncio.to_thread(file.sha256)
            if sha256 in addresses:
                continue
            async with limiter.encoders:
                content = await asyncio.to_thread(file.content)
            if len(content) > LARGEST_INLINE:
                limit = f"{LARGEST_INLINE / 1e6:.0f} MB"
                error = InvalidParameterError("image", f"{file.name}, {len(content) / 1e6:.0f} MB", limit)
                raise error.derived(code="input_too_large", params={"limit": limit})
            addresses[sha256] = await asyncio.to_thread(encode_data_uri, content, file.media_type)
        return addresses

    async def _upload(
        self,
        request: CreateRequest,
        inputs: list[InputImage],
        slot: EncoderSlot,
        on_upload: OnUpload | None = None,
        *,
        resent: bool,
    ) -> dict[str, str]:
        """Upload the inputs. Returns each one's name in the bucket, or address at the sequencer, by its hash."""
        places: dict[str, str] = {}
        for file in inputs:
            sha256 = await asyncio.to_thread(file.sha256)
            if sha256 in places:
                continue

            def on_sent(sent: int, total: int, name: str = file.name) -> None:
                if on_upload is not None:
                    on_upload(UploadProgress(name, sent, total))

            try:
                places[sha256] = await self._upload_one(request, file, slot, on_sent, resent=resent)
            except InvalidParameterError:  # It names the input itself.
                raise
            except XaloraError as error:
                reason = f"{error.what[:1].lower()}{error.what[1:]}"
                what = f"{file.subject} was not uploaded, so no task was created: {reason}"
                raise error.derived(what=what, sent="no") from error
        return places

    async def _upload_one(
        self,
        request: CreateRequest,
        file: InputImage,
        slot: EncoderSlot,
        on_sent: Callable[[int, int], object],
        *,
        resent: bool,
    ) -> str:
        bucket = self._bucket
        if bucket is None:
            content = await slot.encode(file)
            return await self._sequencer.put(content, file.media_type, request.credentials, on_sent)
        name = object_name(self._folder, request.job_id, file.sha256(), file.media_type)
        # The first answer says what is wrong with the bucket, before anything is encoded.
        if resent or not bucket.answered:
            slot.leave()  # A bucket that does not answer must not keep others from encoding.
            if await bucket.has(name):
                return name
        content = await slot.encode(file)
        if self.removes:
            self._objects.setdefault(request.job_id, set()).add(name)
        try:
            await bucket.put(name, content, file.media_type, on_sent)
        except asyncio.CancelledError:
            if self.removes:
                self._cut.add(name)
            raise
        if not self._may_read:  # Without this, a key that may only write would be found by the miners.
            await bucket.has(name, stored=True)
            self._may_read = True
        return name

    async def _remove(self, names: set[str]) -> None:
        """Remove objects, several at once. What fails is logged and kept for another try."""

        async def remove(bucket: Bucket, name: str) -> None:
            async with self._limiter().removals:
                self._unremoved.add(name)
                if time.monotonic() < self._paused_until:
                    return
                try:
                    await asyncio.wait_for(bucket.remove(name, REMOVAL_TRIES), REMOVAL_SECONDS)
                except (XaloraError, asyncio.TimeoutError) as error:
                    if isinstance(error, NetworkError | asyncio.TimeoutError):
                        self._paused_until = time.monotonic() + PAUSE_SECONDS
                    reason = error if isinstance(error, XaloraError) else f"no answer within {REMOVAL_SECONDS:.0f} s"
                    logger.warning("An image is not removed yet: %s", reason)
                else:
                    self._unremoved.discard(name)

        if self._bucket is not None:
            await asyncio.gather(*(remove(self._bucket, name) for name in names))

    def _limiter(self) -> UploadLimiter:
        return self._limiters.setdefault(asyncio.get_running_loop(), UploadLimiter(self._at_once))


def folder_of(home: Path) -> str:
    """The folder in the bucket for the inputs of one home on one machine, so that none removes another's."""
    return hashlib.sha256(f"{platform.node()}\0{home.absolute()}".encode()).hexdigest()[:10]


def object_name(folder: str, job_id: str, sha256: str, media_type: str) -> str:
    """The name of an input's object."""
    job = quote(job_id, safe="").replace("~", "%7E").replace("%", "~")  # Percent signs are quoted in links, again.
    return f"{folder}/{job}/{sha256}{_EXTENSIONS.get(media_type.lower(), '')}"


def job_of(name: str) -> str:
    """The job id in the name of an object."""
    return unquote(name.split("/")[1].replace("~", "%"))


def _no_way(why: str) -> ConfigurationError:
    return ConfigurationError(f"No task was created, because {why}", code="no_bucket")


def _check_links(details: Any) -> None:
    """Refuse signed links that have expired. Raises InvalidParameterError."""
    if isinstance(details, str):
        expires = expiry(details)
        if expires is not None and expires <= datetime.fromtimestamp(time.time(), timezone.utc):
            shown = f"a link that expired at {expires:%Y-%m-%d %H:%M} UTC"
            raise InvalidParameterError("image", shown, "a link that is valid for the time of the task; make a new one")
    elif isinstance(details, dict):
        for value in details.values():
            _check_links(value)
    elif isinstance(details, list | tuple):
        for value in details:
            _check_links(value)
