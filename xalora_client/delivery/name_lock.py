"""A lock for each object's name, across threads and processes of one home."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ..errors import StorageError
from ..files import ProcessLock

BETWEEN_TRIES = 0.05
"""Seconds between two tries while another holds the lock: a file's lock cannot be waited for without a thread."""


@asynccontextmanager
async def name_lock(home: Path, name: str) -> AsyncIterator[None]:
    """Keep the look of one run and the removal of another apart. Raises StorageError without a lock."""
    path = home / "bucket" / "locks" / name.replace("/", "-")
    try:
        while (lock := await asyncio.to_thread(ProcessLock.acquire, path)) is None:  # noqa: ASYNC110 - no event says it
            await asyncio.sleep(BETWEEN_TRIES)
    except OSError as error:
        raise StorageError(f"The use of an image cannot be recorded: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
