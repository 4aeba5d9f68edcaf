"""Removal of what killed runs left in the bucket."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from ..ledger import Listing
from .bucket import Bucket, StoredObject
from .uploads import folder_of, job_of

_NAME = re.compile(r"[0-9a-f]{10}/([^/]+/[0-9a-f]{64}(\.[a-z0-9]+)?|doctor-[0-9a-f]{16}\.txt)")
"""Names as this pack gives them. Whatever else lies in the bucket is not ours."""

UNKNOWN_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Removed:
    """The names of the objects that were removed, their bytes, and how many objects of ours are left."""

    names: list[str]
    freed: int
    left: int


async def remove_leftovers(bucket: Bucket, home: Path, older_than: float) -> Removed:
    """Remove what no task needs: of this home what belongs to jobs that have ended, and whatever is older.

    What other homes put there is only removed when it is older than so many seconds: what it is for is not known here.
    What this home's ledger does not know stays for a day: it may be for a task that runs without the ledger.
    Raises StorageError when the bucket refuses or the ledger cannot be read, and NetworkError when the bucket does not
    answer.
    """
    ledger = Listing(home)

    def is_needed(item: StoredObject) -> bool:
        if not item.name.startswith(f"{folder_of(home)}/"):
            return item.age <= older_than
        job_id = job_of(item.name)
        record = ledger.find(job_id)
        if record is None or record.job_id != job_id:
            return item.age <= min(older_than, UNKNOWN_SECONDS)
        return not record.is_final and item.age <= older_than

    ours = [item for item in await bucket.list_objects() if _NAME.fullmatch(item.name)]
    removed: list[StoredObject] = []
    try:
        for item in ours:
            if not await asyncio.to_thread(is_needed, item):
                await bucket.remove(item.name)
                removed.append(item)
    finally:
        ledger.close()
    return Removed([item.name for item in removed], sum(item.size for item in removed), len(ours) - len(removed))
