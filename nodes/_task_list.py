"""The ledger as the editor shows it, and messages to the editor when it changes."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..xalora_client import StorageError
from . import _host_server

if TYPE_CHECKING:
    from ..xalora_client import TaskRecord, TaskRecords

logger = logging.getLogger("xalora_client")

EVENT = "xalora.tasks"
"""The message to the editor: the tasks that are new or have changed, and which are gone."""

PAGE = 200
MOST = 1000
LONGEST_PROMPT = 300
SECONDS_BETWEEN_LOOKS = 0.25


def page(home: Path, query: dict[str, str]) -> dict[str, Any]:
    """A page of tasks, newest first: ``limit``, ``before`` (the last page's ``next``), ``state``, ``text``.

    Raises ValueError for a number that is none.
    """
    from ..xalora_client import TaskRecords

    limit = max(1, min(int(query.get("limit", PAGE)), MOST))
    before = int(query["before"]) if query.get("before") else None
    if before is not None and not 0 <= before < 2**63:  # The ledger has no such numbers.
        raise ValueError("before is the number of no task")
    with TaskRecords(home) as records:
        found, total = records.tasks(limit, before=before, state=query.get("state"), text=query.get("text", ""))
        return {
            "tasks": described(found, records),
            "total": total,
            "next": found[-1].number if len(found) == limit else None,
            "now": time.time(),
        }


def described(found: list[TaskRecord], records: TaskRecords) -> list[dict[str, Any]]:
    """What the editor shows of tasks. ``usual_seconds`` is how long an open one will probably take in all."""
    usual: dict[tuple[str, str, str | None], float | None] = {}
    shown = []
    for record in found:
        kind = (record.server, record.task_type, record.workflow_id)
        if not record.is_final and kind not in usual:
            usual[kind] = records.usual_seconds(record)
        shown.append(describe(record, None if record.is_final else usual[kind]))
    return shown


def describe(record: TaskRecord, usual_seconds: float | None = None) -> dict[str, Any]:
    """What the editor shows of one task, without its parameters."""
    told = record.to_json()
    parameters = told.pop("parameters")
    prompt = parameters.get("prompt") if isinstance(parameters, dict) else None
    more = {
        "prompt": prompt[:LONGEST_PROMPT] if isinstance(prompt, str) else None,
        "final": told.pop("is_final"),
        "usual_seconds": usual_seconds,
    }
    return told | more


class Feed:
    """Looks at the ledger's files and tells the editors what has changed, whoever changed it: a node or a program."""

    def __init__(self) -> None:
        self.home: Path | None = None
        self.records: TaskRecords | None = None
        self.told: dict[int, dict[str, Any]] = {}
        self.total = 0
        self.seen: Any = None
        self.running = False

    async def follow(self, home: Path) -> None:
        """Follow the ledger of this home from now on."""
        from ..xalora_client import TaskRecords

        if home != self.home:
            if self.records is not None:
                self.records.close()
            self.home, self.records, self.seen = home, TaskRecords(home), None
            await self._look(tell=False)
        if not self.running:
            self.running = True
            self.task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            if _host_server.editors():
                try:
                    await self._look(tell=True)
                except Exception:  # The list must not stand still for the rest of the session.
                    logger.exception("The list of tasks could not be followed")

    async def _look(self, *, tell: bool) -> None:
        records, home = self.records, self.home
        if records is None or home is None or (seen := _signature(home)) == self.seen:
            return
        try:
            found, total = await asyncio.to_thread(records.latest, PAGE)
            shown = await asyncio.to_thread(described, found, records)
        except StorageError:  # Whoever opens the list is told; here it is tried again.
            return
        self.seen = seen
        now = {each["number"]: each for each in shown}
        changed = [each for number, each in now.items() if self.told.get(number) != each]
        new = sum(number > max(self.told, default=0) for number in now)
        gone = self.total + new != total
        self.told, self.total = now, total
        if tell and (changed or gone):
            _host_server.send(EVENT, {"tasks": changed, "reload": gone, "now": time.time()})


def _signature(home: Path) -> list[tuple[int, int] | None]:
    return [_stat(home / name) for name in ("ledger.sqlite3", "ledger.sqlite3-wal")]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
