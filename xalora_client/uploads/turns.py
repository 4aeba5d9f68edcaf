"""How many images are encoded and held at once, on one event loop."""

from __future__ import annotations

import asyncio
import os

from ..protocol.images import InputImage


class Turns:
    """At most ``at_once`` images are held encoded, and little more are being encoded than there are cores."""

    def __init__(self, at_once: int) -> None:
        self.images = asyncio.Semaphore(at_once)
        # One more than cores, for the moments in which an image waits for a look at the ledger or a lock. More threads
        # would only hold more pixels.
        self.cores = asyncio.Semaphore(min(at_once, (os.cpu_count() or 1) + 1))
        self._locks: dict[str, asyncio.Lock] = {}

    def is_free(self, name: str) -> bool:
        """Whether nobody has asked for the lock of this image yet, so that it can be had at once."""
        return name not in self._locks

    def lock(self, name: str) -> asyncio.Lock:
        """The lock of one image: the same image is not uploaded twice at the same time.

        Whoever waits for it may hold an image's turn, but no core: its holder may need one.
        """
        return self._locks.setdefault(name, asyncio.Lock())


class Core:
    """A core for one image. It is kept from the image's hash to its encoding, so that its pixels are made once."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._held = False

    async def sha256(self, image: InputImage) -> str:
        """Hash the image on the core."""
        await self.take()
        return await asyncio.to_thread(image.sha256)

    async def encode(self, image: InputImage) -> bytes:
        """Encode the image on the core, and leave it to others."""
        await self.take()
        try:
            return await asyncio.to_thread(image.content)
        finally:
            self.leave()

    async def take(self) -> None:
        """Wait for a core, unless it is held."""
        if not self._held:
            await self._turns.cores.acquire()
            self._held = True

    def leave(self) -> None:
        """Leave the core to others, if it is held."""
        if self._held:
            self._held = False
            self._turns.cores.release()
