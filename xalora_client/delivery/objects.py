"""The images that this home has in the bucket: what is stored, who uses it, and when it is removed.

An object is in use while a job or a task of this client has it, while a task in the ledger that has not ended has it,
and while another living process is about to send it. It is removed when none of these is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import StorageError, XaloraError
from ..files import in_use
from ..ledger import Ledger
from ..protocol.images import InputImage, stored_hashes
from .bucket import FRESH, Bucket, folder_of, object_name
from .turns import Core, Turns
from .web import OnSent, logger

Turn = AbstractAsyncContextManager[object]

AHEAD = "ahead "
"""Begins the keys of uses for which nothing was sent yet."""

KNOWN_SECONDS = FRESH / 2
"""How long what was seen in the bucket is taken to be still there."""


class _Any:
    def __contains__(self, _: object) -> bool:
        return True


ANY = _Any()
"""Stands for a list that is not known."""


class Objects:
    """One client's images in the bucket. With ``keep``, nothing is removed."""

    def __init__(self, bucket: Bucket, home: Path, ledger: Ledger | None, *, keep: bool) -> None:
        self.bucket = bucket
        self._folder = folder_of(home)
        self._ledger = ledger
        self._keep = keep
        self._in_use = in_use(home / "bucket")
        self._known: dict[str, float] = {}
        self._perhaps_there: set[str] = set()
        self._asked = False
        self._listed: Container[str] | None = None
        # By job id until there is a task, then by task id; by AHEAD before there is a job.
        self._uses: dict[str, set[str]] = {}
        self._listing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @property
    def are_used(self) -> bool:
        """Whether this client uses any."""
        return bool(self._uses)

    async def link(
        self, image: InputImage, key: str, seconds: float, turns: Turns, core: Core, turn: Turn, on_sent: OnSent
    ) -> str:
        """A link to the image for so many seconds; it is encoded and uploaded unless it is there.

        ``key`` names who uses it. An image is encoded on its ``core`` and uploaded within its ``turn``.
        """
        name = object_name(self._folder, await asyncio.to_thread(image.sha256), image.media_type)
        if self._is_known(name):
            async with turns.lock(name):
                if self._is_known(name):
                    await self._use(name, key)
                    return await self.bucket.link(name, seconds)
        async with turn:
            if not turns.is_free(name):
                core.leave()
            async with turns.lock(name):
                await self._use(name, key)
                if not self._is_known(name):
                    await self._store(image, name, core, on_sent)
                    self._known[name] = time.monotonic()
        return await self.bucket.link(name, seconds)

    async def _store(self, image: InputImage, name: str, core: Core, on_sent: OnSent) -> None:
        there = await self._is_there(name, image.subject)
        self._perhaps_there.add(name)
        if not there:
            content = await core.encode(image)
            await self.bucket.put(name, content, image.media_type, image.subject, on_sent)

    def _is_known(self, name: str) -> bool:
        return time.monotonic() - self._known.get(name, -KNOWN_SECONDS) < KNOWN_SECONDS

    def pass_on(self, old: str, new: str) -> None:
        """From now on another uses these images: a task in place of its job, or the other way round."""
        names = self._uses.pop(old, None)
        if names:
            self._uses.setdefault(new, set()).update(names)

    async def ended(self, key: str, parameters: Any, turns: Turns) -> None:
        """A task, or a job that became none, needs its images no more."""
        ours = self._uses.pop(key, set())
        for name in ours | {object_name(self._folder, *each) for each in stored_hashes(parameters)}:
            async with turns.lock(name):
                await self._remove(name, key, ours=name in ours)

    async def close(self, turns: Turns) -> None:
        """Remove what was uploaded ahead and never sent; stop using the rest, which its tasks still need."""
        for key in list(self._uses):
            if key.startswith(AHEAD):
                await self.ended(key, None, turns)
        for names in self._uses.values():
            for name in names:
                await asyncio.to_thread(self._in_use.discard, name)
        self._uses.clear()

    async def _is_there(self, name: str, about: str) -> bool:
        """Ask about the first object alone: that answer says what is wrong. For more, list them once."""
        if not self._asked:
            self._asked = True
            return await self.bucket.has(name, about)
        async with self._listing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._listed is None:
                try:
                    self._listed = {each.name for each in await self.bucket.stored(self._folder)}
                except StorageError as error:  # The key may read and write, but not list.
                    logger.info("%s", error)
                    self._listed = ANY
        # What was there may have been removed since, by its last user.
        return name in self._listed and await self.bucket.has(name, about)

    async def _use(self, name: str, key: str) -> None:
        if not any(name in names for names in self._uses.values()):
            try:
                # Before the look into the bucket: another process may be about to remove it.
                await asyncio.to_thread(self._in_use.add, name)
            except OSError as error:
                raise StorageError(f"The use of an image cannot be recorded: {error.strerror}") from error
        self._uses.setdefault(key, set()).add(name)

    async def _remove(self, name: str, key: str, *, ours: bool) -> None:
        if any(name in names for names in self._uses.values()):
            return
        ledger = self._ledger
        sha256 = name.rpartition("/")[2].partition(".")[0]
        try:
            if ours:
                await asyncio.to_thread(self._in_use.discard, name)
            if self._keep or name in await asyncio.to_thread(self._in_use.everywhere):
                return
            if ledger is not None and await asyncio.to_thread(ledger.uses_image, sha256, key):
                return
            self._known.pop(name, None)
            if name in self._perhaps_there or not ours:
                await self.bucket.remove(name)
                self._perhaps_there.discard(name)
        except (XaloraError, OSError) as error:
            logger.warning("An image stays in the bucket; `xalora prune --bucket` removes it: %s", error)
