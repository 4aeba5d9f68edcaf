"""An address for each image of a task, by the way that the settings choose."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ..config import Config
from ..errors import ConfigurationError, InvalidParameterError, XaloraError
from ..forms import AUTO, BY_BUCKET, BY_DATA_URI, BY_SEQUENCER, is_public
from ..ledger import Ledger
from ..protocol.images import InputImage, images_in, with_addresses
from ..protocol.parameters import encode_data_uri
from ..protocol.requests import Job
from ..protocol.signed_links import expiry
from .bucket import Bucket
from .objects import AHEAD, Objects, Turn
from .turns import Core, Turns
from .uploads import Uploads
from .web import Sleep, Web

T = TypeVar("T")

LARGEST_INLINE = 32 * 1024 * 1024
"""The most bytes of an image that travels inside the create."""

DEFAULT_TASK_SECONDS = 24 * 3600
"""How long a link is valid for a task without ``timeout_seconds``."""

MARGIN = 3600
"""Seconds that a link is valid longer than its task may take: for queues, and for clocks that differ."""

HELD_SECONDS = 600.0
"""How long a sequencer is taken to have an uploaded image. After that it is announced again, which costs little."""

HOW_TO_DELIVER = (
    "Nothing was created. Set XALORA_BUCKET to a bucket of yours, such as s3://name/prefix, or use a sequencer of your "
    "own; see “Images to the miners” in the README."
)


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


class Delivery:
    """The delivery of one client's images. It may be used on several event loops, one after the other.

    Args:
        config: The settings, which choose the way.
        url: The sequencer's address.
        web: HTTP.
        ledger: Where to look whether a task needs an image still, or None.
        at_once: The most images that are held encoded at a time.
        sleep: ``await sleep(seconds)`` between tries.
    """

    def __init__(
        self,
        config: Config,
        url: str,
        web: Web,
        ledger: Ledger | None = None,
        at_once: int = 8,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._uploads = Uploads(url, web, sleep)
        self._at_once = at_once
        self._way = "" if config.image_delivery == AUTO else config.image_delivery
        if config.bucket and config.image_delivery in (AUTO, BY_BUCKET):
            self._way = BY_BUCKET
        self._objects: Objects | None = None
        if config.bucket and self._way == BY_BUCKET:
            bucket = Bucket(config.bucket, config.bucket_options, web, sleep)
            self._objects = Objects(bucket, config.home, ledger, keep=config.bucket_keep)
        self._offered: bool | None = None
        self._held: dict[str, tuple[str, float]] = {}
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Turns] = WeakKeyDictionary()

    @property
    def removes(self) -> bool:
        """Whether anything is to be removed after a task."""
        return self._objects is not None and not self._config.bucket_keep

    @property
    def has_images(self) -> bool:
        """Whether there is something to remove, or to let go of, in ``close``."""
        return self._objects is not None and self._objects.has_any

    async def upload(self, job: Job, on_upload: OnUpload | None = None, *, reuse: bool = True) -> None:
        """Upload the job's images ahead of its create, unless a task for it is known already.

        Images that travel inside the create stay where they are. Raises as ``addressed``.
        """
        turns = self._turns()
        core = Core(turns)
        async with turns.images:
            try:
                images = await asyncio.to_thread(images_in, job.task.task_details)
                if not images or await self._choose(images) == BY_DATA_URI:
                    return
                for image in images:
                    await core.sha256(image)
                ledger = self._ledger
                if reuse and ledger and await asyncio.to_thread(lambda: ledger.has_task(ledger.intent(job))):
                    return
                for image in images:
                    await self._deliver(image, job, _ahead(job), core, nullcontext(), on_upload)
            finally:
                core.leave()

    async def addressed(self, job: Job) -> Job:
        """The job with an address for each image in it; what is not there yet is uploaded.

        Raises ConfigurationError when no way can be used, StorageError when the bucket refuses an image, APIStatusError
        when the sequencer does, InvalidParameterError when a signed link has expired or an image cannot be encoded, and
        NetworkError when no complete answer comes back. Nothing was created then.
        """
        details = job.task.task_details
        try:
            _check_links(details)
            images = await asyncio.to_thread(images_in, details)
        except RecursionError:  # The create refuses it.
            images = []
        if not images:
            return replace(job, details=details)
        way = await self._choose(images)
        addresses: dict[str, str] = {}
        turns = self._turns()
        core = Core(turns)
        try:
            for image in images:
                sha256 = await asyncio.to_thread(image.sha256)
                if sha256 in addresses:
                    continue
                if way == BY_DATA_URI:
                    addresses[sha256] = await self._inline(image, core)
                else:
                    addresses[sha256] = await self._deliver(image, job, job.job_id, core, turns.images)
        except BaseException:
            if self._objects is not None:
                self._objects.pass_on(job.job_id, _ahead(job))  # It was not sent.
            raise
        if self._objects is not None:
            self._objects.pass_on(_ahead(job), job.job_id)
        return replace(job, details=await asyncio.to_thread(with_addresses, details, lambda i: addresses[i.sha256()]))

    def created(self, job: Job, task_id: str) -> None:
        """Note which task the job's images are for."""
        if self._objects is not None:
            self._objects.pass_on(job.job_id, task_id)

    async def dropped(self, job: Job) -> None:
        """Remove what was uploaded for a job that became no task, unless others use it. What fails is logged."""
        if self._held:  # Perhaps it became none because the sequencer has forgotten an image.
            with suppress(XaloraError):
                for image in await asyncio.to_thread(images_in, job.task.task_details):
                    self._held.pop(await _owned(image, job), None)
        if self._objects is not None:
            self._objects.pass_on(_ahead(job), job.job_id)
            await self._objects.ended(job.job_id, None, self._turns())

    async def ended(self, task_id: str, parameters: Any) -> None:
        """Remove the images of a task that has ended, unless others use them. What fails is logged."""
        if self._objects is not None:
            await self._objects.ended(task_id, parameters, self._turns())

    async def close(self) -> None:
        """Remove what was uploaded ahead for jobs that were never sent."""
        if self._objects is not None:
            await self._objects.close(self._turns())

    async def _choose(self, images: list[InputImage]) -> str:
        way = self._way
        public = is_public(self._config.workflow_url)
        if way == BY_BUCKET:
            if self._objects is None:
                raise ConfigurationError("Images go by a bucket, and no bucket is set", advice=HOW_TO_DELIVER)
            return way
        if way != BY_DATA_URI and not public and self._offered is None:
            self._offered = await self._uploads.offered()
        if way != BY_DATA_URI and self._offered:
            return BY_SEQUENCER
        if way == BY_SEQUENCER:
            raise ConfigurationError("This sequencer takes no uploads of images", advice=HOW_TO_DELIVER)
        if public:
            raise ConfigurationError(
                f"{images[0].subject} has no address, and the public network's miners fetch only by http or https",
                advice=HOW_TO_DELIVER,
            )
        return BY_DATA_URI

    async def _inline(self, image: InputImage, core: Core) -> str:
        content = await core.encode(image)
        if len(content) > LARGEST_INLINE:
            raise InvalidParameterError(
                "image", f"{image.name}, {len(content) / 1e6:.0f} MB",
                f"{LARGEST_INLINE / 1e6:.0f} MB inside a create; larger ones need a bucket (XALORA_BUCKET)",
            )  # fmt: skip
        return await asyncio.to_thread(encode_data_uri, content, image.media_type)

    async def _deliver(
        self, image: InputImage, job: Job, key: str, core: Core, turn: Turn, on_upload: OnUpload | None = None
    ) -> str:
        def on_sent(sent: int, total: int) -> None:
            if on_upload is not None:
                on_upload(UploadProgress(image.name, sent, total))

        turns = self._turns()
        if self._objects is not None:
            seconds = (job.task.timeout_seconds or DEFAULT_TASK_SECONDS) + MARGIN
            return await self._objects.link(image, key, seconds, turns, core, turn, on_sent)
        owned = await _owned(image, job)
        if (address := self._address(owned)) is None:
            async with turn:
                if not turns.is_free(owned):
                    core.leave()
                async with turns.lock(owned):
                    if (address := self._address(owned)) is None:
                        content = await core.encode(image)
                        address = await self._uploads.put(
                            content, image.media_type, job.credentials, image.subject, on_sent
                        )
                        self._held[owned] = address, time.monotonic()
        return address

    def _address(self, owned: str) -> str | None:
        """Where the sequencer has the image, unless that is too long ago to be sure."""
        address, since = self._held.get(owned, ("", 0.0))
        return address if address and time.monotonic() - since < HELD_SECONDS else None

    def _turns(self) -> Turns:
        return self._by_loop.setdefault(asyncio.get_running_loop(), Turns(self._at_once))


async def _owned(image: InputImage, job: Job) -> str:
    return f"{job.credentials.consumer_id} {await asyncio.to_thread(image.sha256)}"


def _ahead(job: Job) -> str:
    """Who uses the images of a task for which no job was sent. The task lives as long as its upload and create."""
    return f"{AHEAD}{id(job.task)}"


def _check_links(details: Any) -> None:
    """Refuse signed links that have expired. Raises InvalidParameterError."""
    if isinstance(details, str):
        ends = expiry(details)
        if ends is not None and ends <= datetime.fromtimestamp(time.time(), timezone.utc):
            shown = f"a link that expired at {ends:%Y-%m-%d %H:%M} UTC"
            raise InvalidParameterError("image", shown, "a link that is valid for the time of the task; make a new one")
    elif isinstance(details, dict):
        for each in details.values():
            _check_links(each)
    elif isinstance(details, list | tuple):
        for each in details:
            _check_links(each)
