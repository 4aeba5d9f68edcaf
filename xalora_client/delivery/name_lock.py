"""A lock for each object's name, across threads and processes of one home.

Who uploads holds it from the look until the object is stored, so that it is stored once; who removes holds it, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ..errors import StorageError
from ..files import ProcessLock
from .web import logger

BETWEEN_TRIES = 0.05
"""Seconds between two tries while another holds the lock: a file's lock cannot be waited for without a thread."""

LONGEST_WAIT = 120.0
"""Seconds after which a lock is no longer waited for: its holder is stopped, or uploads over a very slow line."""


@asynccontextmanager
async def name_lock(home: Path, name: str, on_wait: Callable[[], object] = lambda: None) -> AsyncIterator[bool]:
    """Hold the object's lock. Says whether another held it first. Raises StorageError without a lock.

    ``on_wait()`` is called when another holds it. After LONGEST_WAIT this goes on without it: the object may then be
    uploaded a second time, which changes nothing.
    """
    lock = await _acquired(home, name)
    waited = lock is None
    if waited:
        on_wait()
        give_up = time.monotonic() + LONGEST_WAIT
        while lock is None and time.monotonic() < give_up:
            await asyncio.sleep(BETWEEN_TRIES)
            lock = await _acquired(home, name)
        if lock is None:
            logger.info("Another process has been uploading an image for %.0f s; it is uploaded here too", LONGEST_WAIT)
    try:
        yield waited
    finally:
        if lock is not None:
            lock.release()


@asynccontextmanager
async def free_name_lock(home: Path, name: str) -> AsyncIterator[bool]:
    """Hold the object's lock, unless another holds it: then the object is in use. Says whether it is held here.

    Raises StorageError without a lock.
    """
    lock = await _acquired(home, name)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


async def _acquired(home: Path, name: str) -> ProcessLock | None:
    try:
        return await asyncio.to_thread(ProcessLock.acquire, home / "bucket" / "locks" / name.replace("/", "-"))
    except OSError as error:
        raise StorageError(f"The use of an image cannot be recorded: {error.strerror}") from error
