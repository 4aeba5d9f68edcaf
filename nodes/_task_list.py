"""The ledger as the editor shows it: a page of tasks at a time, and a message when it has changed."""

from __future__ import annotations

import asyncio
import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..xalora_client import ConfigurationError
from . import _host, _host_server

if TYPE_CHECKING:
    from ..xalora_client import TaskRecord, TaskRecords

EVENT = "xalora.tasks"
"""The message to the editor: the ledger has changed. It has no contents, because any web page may listen to ComfyUI's
messages. The editor asks for what it shows, by a route that other sites may not use."""

PAGE = 200
MOST = 1000
EVERY = 1 << 62
LONGEST_PROMPT = 300
SECONDS_BETWEEN_LOOKS = 0.25
SECONDS_BETWEEN_MESSAGES = 1.0

KINDS = {"txt2vid": "Text2Video", "upscaler": "Upscale", "txt2img": "Flux LoRA"}
"""The names of kinds, as their nodes have them."""

unknown: set[tuple[str, str | None]] = set()
"""Server and id of the open tasks that their server does not know any more, as far as it was asked."""


def page(home: Path, query: dict[str, str]) -> dict[str, Any]:
    """A page of tasks, newest first: ``limit``, ``before`` (the last page's ``next``), ``state``, ``text``.

    ``state`` may name several, separated by commas. Each word of ``text`` must appear in the prompt, the kind, an id or
    the message. ``total`` counts the tasks with this state and text, ``all`` those in the ledger, and ``running`` those
    that are known to be under way. Raises ValueError for a number that is none.
    """
    from ..xalora_client import TaskRecords

    limit = max(1, min(int(query.get("limit", PAGE)), MOST))
    before = int(query["before"]) if query.get("before") else None
    if before is not None and not 0 <= before < 2**63:  # The ledger has no such numbers.
        raise ValueError("before is the number of no task")
    words = query.get("text", "").lower().split()
    with TaskRecords(home) as records:
        found, total = _find(records, limit, before, query.get("state", "").split(","), words)
        under_way = [record for record in open_tasks(records) if record.state in ("waiting", "running")]
        server = _server()
        return {
            "tasks": [_described(record, records, server) for record in found],
            "total": total,
            "all": records.tasks(0)[1],
            "running": sum(_doubt(record, server) is None for record in under_way),
            "next": found[-1].number if len(found) == limit else None,
            "now": time.time(),
            "server": server,
        }


def open_tasks(records: TaskRecords) -> list[TaskRecord]:
    """Every open task that a server has given an id."""
    found, _ = records.tasks(EVERY, state="open")
    return [record for record in found if record.task_id is not None]


def _find(
    records: TaskRecords, limit: int, before: int | None, states: list[str], words: list[str]
) -> tuple[list[TaskRecord], int]:
    """A page of the tasks in one of the states and with all of the words, and how many there are."""
    # The ledger looks for one text alone, and knows no names of kinds: words are looked for here.
    most, end = (EVERY, None) if words else (limit, before)
    pages = [records.tasks(most, before=end, state=state) for state in states]
    found = [record for page, _ in pages for record in page if _has(record, words)]
    total = len(found) if words else sum(total for _, total in pages)
    found.sort(key=lambda record: record.number, reverse=True)
    return [record for record in found if before is None or record.number < before][:limit], total


def _has(record: TaskRecord, words: list[str]) -> bool:
    searched = (_prompt(record), _kind(record), record.task_type, record.workflow_id)
    text = "\n".join(filter(None, (*searched, record.task_id, record.job_id, record.message))).lower()
    return all(word in text for word in words)


def _server() -> str | None:
    """The server in force, whose tasks can be asked about; None when the settings cannot be read."""
    from ..xalora_client import read_settings

    try:
        return read_settings(_host.home()).server.value
    except ConfigurationError:
        return None


def _doubt(record: TaskRecord, server: str | None) -> str | None:
    """Why nobody knows what an open task does: "elsewhere" or "unknown". None: its server can tell."""
    if record.is_final or record.task_id is None:
        return None
    if server is not None and record.server not in (server, "sandbox"):
        return "elsewhere"
    return "unknown" if (record.server, record.task_id) in unknown else None


def _described(record: TaskRecord, records: TaskRecords, server: str | None) -> dict[str, Any]:
    return describe(record, None if record.is_final else records.usual_seconds(record), _doubt(record, server))


def describe(record: TaskRecord, usual_seconds: float | None = None, doubt: str | None = None) -> dict[str, Any]:
    """What the editor shows of one task, without its parameters.

    ``usual_seconds`` is how long an open one will probably take in all, ``doubt`` why nobody knows what it does.
    """
    told = record.to_json()
    del told["parameters"]
    more = {
        "prompt": _prompt(record),
        "kind": _kind(record),
        "final": told.pop("is_final"),
        "usual_seconds": usual_seconds,
        "doubt": doubt,
    }
    return told | more


def _prompt(record: TaskRecord) -> str | None:
    prompt = record.parameters.get("prompt") if isinstance(record.parameters, dict) else None
    return prompt[:LONGEST_PROMPT] if isinstance(prompt, str) else None


def _kind(record: TaskRecord) -> str:
    return KINDS.get(record.task_type, record.task_type)


@functools.cache
def watch(home: Path) -> asyncio.Task[None]:
    """From now on, tell the open editors when the ledger of this home has changed, whoever changed it."""
    return asyncio.create_task(_watch(home, signature(home)))


async def _watch(home: Path, told: object) -> None:
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        if _host_server.editors() and (now := signature(home)) != told:
            told = now
            _host_server.send(EVENT, {})
            await asyncio.sleep(SECONDS_BETWEEN_MESSAGES - SECONDS_BETWEEN_LOOKS)


def signature(home: Path) -> list[tuple[int, int] | None]:
    """What differs after each change of the ledger; reading it changes nothing."""
    return [_stat(home / name) for name in ("ledger.sqlite3", "ledger.sqlite3-wal")]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    # Whoever reads makes an empty one, and removes it again.
    return (stat.st_mtime_ns, stat.st_size) if stat.st_size else None
