"""What runs that were killed left in the bucket."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from ..files import in_use
from ..ledger import Ledger
from .bucket import Bucket, Stored, folder_of
from .name_lock import free_name_lock

_NAME = re.compile(r"[0-9a-f]{10}/([0-9a-f]{64}|doctor-[0-9a-f]{16})(\.[a-z0-9]+)?")
"""Names as this pack gives them. Whatever else lies in the bucket is not ours."""

UNKNOWN_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Removed:
    """The names of the objects that were removed, their bytes, and how many objects of ours are left."""

    names: list[str]
    freed: int
    left: int


async def remove_leftovers(bucket: Bucket, home: Path, ledger: Ledger, older_than: float) -> Removed:
    """Remove what no task needs: of this home what no living process and no open task uses, and whatever is older.

    What other homes put there is only removed when it is older than so many seconds: what it is for is not known here.
    What this home's ledger does not know stays for a day: it may be for a task that runs without the ledger.
    Raises StorageError when the bucket refuses, and NetworkError when it does not answer.
    """
    used = in_use(home / "bucket")

    def is_needed(each: Stored, sha256: str) -> bool:
        if each.name in used.everywhere():
            return True
        if not each.name.startswith(f"{folder_of(home)}/") or ledger.uses_image(sha256):
            return each.age <= older_than
        return not ledger.knows_image(sha256) and each.age <= min(older_than, UNKNOWN_SECONDS)

    names: list[str] = []
    freed = left = 0
    for each in await bucket.stored():
        match = _NAME.fullmatch(each.name)
        if match is None:
            continue
        # Just before each removal: a run may have begun to use it since the list.
        async with free_name_lock(home, each.name) as is_free:
            if not is_free or await asyncio.to_thread(is_needed, each, match[1]):
                left += 1
                continue
            await bucket.remove(each.name)
        names.append(each.name)
        freed += each.size
    return Removed(names, freed, left)
