"""The images that this home has in the bucket: what is stored, who uses it, and when it is removed.

An object is in use while a job or a task of this client has it, while a task in the ledger that has not ended has it,
and while another living process is about to send it. It is removed when none of these is left. A lock of its name keeps
a removal and the look of another process apart.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Container, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ..errors import NetworkError, StorageError, XaloraError
from ..files import in_use
from ..ledger import Ledger
from ..protocol.images import InputImage, stored_hashes
from .bucket import FRESH, Bucket, folder_of, object_name
from .name_lock import BETWEEN_TRIES, free_name_lock, name_lock
from .turns import Core, Turns
from .web import OnSent, logger

Turn = AbstractAsyncContextManager[object]

AHEAD = "ahead "
"""Begins the keys of uses for which nothing was sent yet."""

KNOWN_SECONDS = FRESH / 2
"""How long what was seen in the bucket is taken to be still there."""

MOST_LISTED = 10_000
"""After so many objects, a list would take longer than it saves; then each image is asked for on its own."""

LIST_SECONDS = 30.0
"""How long a list is used: other runs store images, too."""

REMOVAL_SECONDS = 10.0
"""The longest that a removal may take: a finished result and a canceled run wait for it."""

REMOVAL_TRIES = 2

PAUSE_SECONDS = 60.0
"""After a removal without an answer, how long no other is tried, so that results wait for a silent bucket once."""

REMOVALS_AT_ONCE = 8


class _Any:
    def __contains__(self, _: object) -> bool:
        return True


ANY = _Any()
"""Stands for a list that is not known."""


class Objects:
    """One client's images in the bucket. With ``keep``, nothing is removed."""

    def __init__(self, bucket: Bucket, home: Path, ledger: Ledger | None, *, keep: bool) -> None:
        self.bucket = bucket
        self._home = home
        self._folder = folder_of(home)
        self._ledger = ledger
        self._keep = keep
        self._in_use = in_use(home / "bucket")
        self._known: dict[str, float] = {}
        self._perhaps_there: set[str] = set()
        self._readable = False
        self._asked = False
        self._listed: Container[str] = ANY
        self._listed_at = -math.inf
        # By job id until there is a task, then by task id; by AHEAD before there is a job.
        self._uses: dict[str, set[str]] = {}
        self._noted: set[str] = set()
        self._unremoved: set[str] = set()
        self._paused_until = 0.0
        self._listing: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @property
    def has_any(self) -> bool:
        """Whether this client uses any, or has yet to remove some."""
        return bool(self._uses or self._unremoved)

    async def link(
        self, image: InputImage, key: str, seconds: float, turns: Turns, core: Core, turn: Turn, on_sent: OnSent
    ) -> str:
        """A link to the image for so many seconds; it is encoded and uploaded unless it is there.

        ``key`` names who uses it. An image is encoded on its ``core`` and uploaded within its ``turn``.
        """
        name = object_name(self._folder, await asyncio.to_thread(image.sha256), image.media_type)
        if self._is_known(name):
            self._use(name, key)
        else:
            async with turn:
                if not turns.is_free(name):
                    core.leave()
                async with turns.lock(name):
                    if self._is_known(name):
                        self._use(name, key)
                    else:
                        await self._store(image, name, key, core, on_sent)
                        if name in self._noted:
                            self._known[name] = time.monotonic()
                        else:  # Whoever wanted it gave it up meanwhile.
                            self._unremoved.add(name)
        return await self.bucket.link(name, seconds)

    async def _store(self, image: InputImage, name: str, key: str, core: Core, on_sent: OnSent) -> None:
        # A removal by another run ends before the look, and another run's upload before it, too.
        async with name_lock(self._home, name, on_wait=core.leave) as waited:
            self._use(name, key)
            shared = await self._note(name)
            there = await self._is_there(name, image.subject, core, ask=waited or shared)
            self._perhaps_there.add(name)
            if there:
                return
            content = await core.encode(image)
            await self.bucket.put(name, content, image.media_type, image.subject, on_sent)
        if not self._readable:  # Without this, a key that may only write would be found by the miners.
            await self.bucket.has(name, image.subject, stored=True)
            self._readable = True

    def _is_known(self, name: str) -> bool:
        """Whether it is certainly there: it was seen, and this client has used it since."""
        return time.monotonic() - self._known.get(name, -KNOWN_SECONDS) < KNOWN_SECONDS

    def pass_on(self, old: str, new: str) -> None:
        """From now on another uses these images: a task in place of its job, or the other way round."""
        names = self._uses.pop(old, None)
        if names:
            self._uses.setdefault(new, set()).update(names)

    async def ended(self, key: str, parameters: Any, turns: Turns) -> None:
        """A task, or a job that became none, needs its images no more.

        This takes little more than REMOVAL_SECONDS. What is not removed by then is tried again in ``close``.
        """
        ours = self._uses.pop(key, set())
        self._let_go(ours)
        others = {object_name(self._folder, *each) for each in stored_hashes(parameters)} - ours
        await self._remove((ours & self._perhaps_there) | others, key, turns, "An image is not removed yet")

    async def close(self, turns: Turns) -> None:
        """Use nothing more, and remove what no open task needs. Without a ledger, each task counts as open."""
        names = {name for each in self._uses.values() for name in each}
        needed = {name for key, each in self._uses.items() if not key.startswith(AHEAD) for name in each}
        self._uses.clear()
        self._let_go(names)
        self._paused_until = 0.0
        names = (names & self._perhaps_there) | self._unremoved
        self._unremoved.clear()
        await self._remove(
            names if self._ledger is not None else names - needed,
            "",
            turns,
            "An image stays in the bucket; `xalora prune --bucket` removes it",
        )
        self._unremoved.clear()

    async def _is_there(self, name: str, about: str, core: Core, *, ask: bool) -> bool:
        """Ask about the first object alone: that answer says what is wrong. For more, list them.

        With ``ask``, another run may have stored it since the list.
        """
        if self._asked and not ask:
            if time.monotonic() - self._listed_at > LIST_SECONDS:
                core.leave()  # A bucket that does not answer must not keep others from hashing.
                await self._list()
            if name not in self._listed:
                return False
        self._asked = True
        core.leave()
        # What was listed may have been removed since, by its last user.
        return await self.bucket.has(name, about)

    async def _list(self) -> None:
        async with self._listing.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            begun = time.monotonic()
            if begun - self._listed_at <= LIST_SECONDS:
                return
            try:
                found = await self.bucket.stored(self._folder, MOST_LISTED)
                self._listed = ANY if len(found) >= MOST_LISTED else {each.name for each in found}
            except (NetworkError, StorageError) as error:  # The key may read and write, but not list.
                logger.info("%s", error)
                self._listed = ANY
            self._listed_at = math.inf if self._listed is ANY else begun

    def _use(self, name: str, key: str) -> None:
        self._uses.setdefault(key, set()).add(name)

    def _is_used(self, name: str) -> bool:
        return any(name in names for names in self._uses.values())

    async def _note(self, name: str) -> bool:
        """Tell others that it is used; returns whether others use it. Raises StorageError."""

        def note() -> bool:
            shared = name in self._in_use.everywhere()
            self._in_use.add(name)
            self._noted.add(name)  # Here, because whoever waits for this thread may be canceled.
            return shared

        if name in self._noted:
            return True
        try:
            return await asyncio.to_thread(note)
        except OSError as error:
            raise StorageError(f"The use of an image cannot be recorded: {error.strerror}") from error

    def _let_go(self, names: Iterable[str]) -> None:
        """Take back the notes of what this client no longer uses: from now on others may remove it."""
        for name in names:
            if name in self._noted and not self._is_used(name):
                self._noted.discard(name)
                self._known.pop(name, None)
                try:
                    self._in_use.discard(name)
                except OSError as error:
                    logger.warning("An image's use is recorded until this process ends: %s", error)

    async def _remove(self, names: Iterable[str], key: str, turns: Turns, failing: str) -> None:
        """Remove what nobody else uses, several at once. What fails is logged and kept for another try."""
        at_once = asyncio.Semaphore(REMOVALS_AT_ONCE)

        async def remove(name: str) -> None:
            async with at_once:
                if time.monotonic() < self._paused_until:
                    self._unremoved.add(name)
                    return
                try:
                    await asyncio.wait_for(self._remove_one(name, key, turns), REMOVAL_SECONDS)
                except (XaloraError, OSError, asyncio.TimeoutError) as error:
                    self._unremoved.add(name)
                    if isinstance(error, NetworkError | asyncio.TimeoutError):
                        self._paused_until = time.monotonic() + PAUSE_SECONDS
                    logger.warning("%s: %s", failing, str(error) or f"no answer within {REMOVAL_SECONDS:.0f} s")

        if not self._keep:
            await asyncio.gather(*(remove(name) for name in names if not self._is_used(name)))

    async def _remove_one(self, name: str, key: str, turns: Turns) -> None:
        async with turns.lock(name):
            while True:
                async with free_name_lock(self._home, name) as is_free:
                    if is_free:
                        return await self._remove_unless_used(name, key)
                if name in await asyncio.to_thread(self._in_use.everywhere):
                    self._unremoved.add(name)  # Another run uploads it, or has just begun to look.
                    return None
                # Another run may have kept it for this one's sake a moment ago.
                await asyncio.sleep(BETWEEN_TRIES)

    async def _remove_unless_used(self, name: str, key: str) -> None:
        if self._is_used(name) or name in await asyncio.to_thread(self._in_use.everywhere):
            return
        sha256 = name.rpartition("/")[2].partition(".")[0]
        ledger = self._ledger
        if ledger is not None and await asyncio.to_thread(ledger.uses_image, sha256, key):
            self._unremoved.add(name)  # By a task that has perhaps just ended, and is not recorded yet.
            return
        await self.bucket.remove(name, REMOVAL_TRIES)
        self._perhaps_there.discard(name)
        self._unremoved.discard(name)
