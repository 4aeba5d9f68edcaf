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

BETWEEN_TRIES = 0.05
"""Seconds between two tries while another holds the lock: a file's lock cannot be waited for without a thread."""

LONGEST_WAIT = 600.0
"""Seconds after which a lock is no longer waited for: its holder is stopped, or uploads over a very slow line."""


@asynccontextmanager
async def name_lock(home: Path, name: str, on_wait: Callable[[], object] = lambda: None) -> AsyncIterator[bool]:
    """Hold the object's lock. Says whether another held it first.

    ``on_wait()`` is called when another holds it. Raises StorageError without a lock, also after LONGEST_WAIT.
    """
    lock = await _acquired(home, name)
    waited = lock is None
    if waited:
        on_wait()
    give_up = time.monotonic() + LONGEST_WAIT
    while lock is None:
        if time.monotonic() > give_up:  # Not without it: its holder may be about to remove the object.
            raise StorageError(
                f"Another run has been uploading or removing the image for {LONGEST_WAIT / 60:.0f} min",
                advice="No task was created. End that run if it has stopped, then run this again.",
            )
        await asyncio.sleep(BETWEEN_TRIES)
        lock = await _acquired(home, name)
    try:
        yield waited
    finally:
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
