"""What runs that were killed left in the bucket."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from ..files import in_use
from ..ledger import Ledger
from .bucket import Bucket, folder_of

_NAME = re.compile(r"[0-9a-f]{10}/([0-9a-f]{64}|doctor-[0-9a-f]{16})(\.[a-z0-9]+)?")
"""Names as this pack gives them. Whatever else lies in the bucket is not ours."""


@dataclass(frozen=True)
class Removed:
    """The names of the objects that were removed, their bytes, and how many objects of ours are left."""

    names: list[str]
    freed: int
    left: int


async def remove_leftovers(bucket: Bucket, home: Path, ledger: Ledger, older_than: float) -> Removed:
    """Remove what no task needs: of this home what no living process and no open task uses, and whatever is older.

    What other homes put there is only removed when it is older than so many seconds: what it is for is not known here.
    Raises StorageError when the bucket refuses, and NetworkError when it does not answer.
    """
    used = await asyncio.to_thread(in_use(home / "bucket").everywhere)
    names: list[str] = []
    freed = left = 0
    for each in await bucket.stored():
        match = _NAME.fullmatch(each.name)
        if match is None:
            continue
        ours = each.name.startswith(f"{folder_of(home)}/")
        needed = not ours or await asyncio.to_thread(ledger.uses_image, match[1])
        if each.name in used or (needed and each.age <= older_than):
            left += 1
            continue
        await bucket.remove(each.name)
        names.append(each.name)
        freed += each.size
    return Removed(names, freed, left)
