"""How much of a batch's uploads is done at once, on one event loop."""

from __future__ import annotations

import asyncio
import os

from ..protocol.inputs import InputImage

REMOVALS_AT_ONCE = 8


class UploadLimiter:
    """How much is done at once on one event loop.

    Attributes:
        uploads: Upload slots: so many inputs are held encoded at most.
        encoders: Encoder slots: little more inputs are encoded at a time than there are cores.
        removals: Slots for removals.
    """

    def __init__(self, at_once: int) -> None:
        self.uploads = asyncio.Semaphore(at_once)
        # One more than cores, for the moments in which an input waits for the ledger. More threads would only hold
        # more pixels.
        self.encoders = asyncio.Semaphore(min(at_once, (os.cpu_count() or 1) + 1))
        self.removals = asyncio.Semaphore(REMOVALS_AT_ONCE)


class EncoderSlot:
    """An encoder slot for a task, kept from an input's hash to its encoding, so that its pixels are made once."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._held = False

    async def take(self) -> None:
        """Wait for the slot, unless it is held."""
        if not self._held:
            await self._slots.acquire()
            self._held = True

    async def encode(self, file: InputImage) -> bytes:
        """Encode the input, and leave the slot to others."""
        await self.take()
        try:
            return await asyncio.to_thread(file.content)
        finally:
            self.leave()

    def leave(self) -> None:
        """Leave the slot to others, if it is held."""
        if self._held:
            self._held = False
            self._slots.release()
