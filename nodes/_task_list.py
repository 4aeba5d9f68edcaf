"""The ledger as the editor shows it, and what has changed in it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..xalora_client import ConfigurationError, StorageError
from . import _host, _host_server

if TYPE_CHECKING:
    from ..xalora_client import TaskRecord, TaskRecords

logger = logging.getLogger("xalora_client")

EVENT = "xalora.tasks"
"""The message to the editor: something has changed. It has no more than the version."""

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
            "server": server(),
        }


def server() -> str | None:
    """The server in force, whose tasks can be asked about; None when the settings cannot be read."""
    from ..xalora_client import read_settings

    try:
        return read_settings(_host.home()).server.value
    except ConfigurationError:
        return None


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
    """Looks at the ledger's files and tells the editors that something has changed, whoever changed it.

    Any web page may listen to ComfyUI's messages, so they carry no contents: the editors ask for what has changed, by
    a route that other sites may not use. What has changed is numbered by versions.
    """

    def __init__(self) -> None:
        self.home: Path | None = None
        self.records: TaskRecords | None = None
        self.version = self.since = 0
        self.changed: dict[int, int] = {}
        self.running = False
        self._known: dict[int, dict[str, Any]] = {}
        self._ended: deque[int] = deque(maxlen=PAGE)
        self._total = 0
        self._seen: Any = None
        self._looking = asyncio.Lock()

    async def follow(self, home: Path) -> None:
        """Follow the ledger of this home from now on."""
        from ..xalora_client import TaskRecords

        if home != self.home:
            if self.records is not None:
                self.records.close()
            self.home, self.records, self._seen = home, TaskRecords(home), None
            await self._look()
            # Whoever has a version of another home, or of an earlier start, needs the whole list.
            self.version = self.since = max(self.version, int(time.time() * 1000))
        if not self.running:
            self.running = True
            self.task = asyncio.create_task(self._watch())

    async def changes(self, home: Path, since: int) -> dict[str, Any]:
        """The tasks that are new or have changed since a version; ``reload`` says that the whole list is needed."""
        await self.follow(home)
        await self._look()
        numbers = [number for number, version in self.changed.items() if version > since]
        reload = not self.since <= since <= self.version or len(numbers) > MOST
        answer = {"version": self.version, "now": time.time(), "reload": reload}
        return answer | await asyncio.to_thread(_news, home, [] if reload else numbers)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            if _host_server.editors():
                try:
                    await self._look()
                except Exception:  # The list must not stand still for the rest of the session.
                    logger.exception("The list of tasks could not be followed")

    async def _look(self) -> None:
        async with self._looking:
            records, home = self.records, self.home
            if records is None or home is None or (seen := _signature(home)) == self._seen:
                return
            try:
                now, total = await asyncio.to_thread(self._read, records)
            except StorageError:  # Whoever opens the list is told; here it is tried again.
                return
            self._seen = seen
            changed = [number for number, each in now.items() if self._known.get(number) != each]
            newest = max(self._known, default=0)
            gone = self._total + sum(number > newest for number in now) != total
            self._known, self._total = now, total
            if changed or gone:
                self.version += 1
                self.changed |= dict.fromkeys(changed, self.version)
                if gone:
                    self.since = self.version
                _host_server.send(EVENT, {"version": self.version})

    def _read(self, records: TaskRecords) -> tuple[dict[int, dict[str, Any]], int]:
        """What is followed: the newest tasks, every open one, and the last that were open before."""
        found, total = records.latest(PAGE)
        numbers = {record.number for record in found}
        ended = [number for number, each in self._known.items() if not each["final"] and number not in numbers]
        self._ended.extend(ended)
        found += records.numbered({*ended, *self._ended} - numbers)
        return {each["number"]: each for each in described(found, records)}, total


def _news(home: Path, numbers: list[int]) -> dict[str, Any]:
    from ..xalora_client import TaskRecords

    with TaskRecords(home) as records:
        return {"tasks": described(records.numbered(numbers), records), "server": server()}


def _signature(home: Path) -> list[tuple[int, int] | None]:
    return [_stat(home / name) for name in ("ledger.sqlite3", "ledger.sqlite3-wal")]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
