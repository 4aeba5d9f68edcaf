"""The ledger's tasks for the editor: pages of them, a message when they have changed, and what can be done with one.

All of it runs on the routes' event loop. A thread reads the ledger, which may be locked for seconds.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ... import xalora_client
from ...xalora_client import ConfigurationError, NotFoundError, TaskStatus, XaloraError
from ...xalora_client.config.settings import read_settings, server_arguments
from .. import comfy
from ..comfy import outputs
from ..error_messages import for_extension
from ..execution import cancel_or_ended
from ..status_lines import NodeTasks

EVENT = "xalora.tasks"
"""The message to the editor: the ledger has changed. It has no contents, because any web page may listen to ComfyUI's
messages. The editor asks for what it shows, by a route that other sites may not use."""

PAGE = 200
LARGEST_PAGE = 1000
NO_LIMIT = 1 << 62
LONGEST_PROMPT = 300
MOST_REFRESHED = 50
SECONDS_UNTIL_KNOWN = 60
THUMBNAILS_KEPT = 1000
SECONDS_BETWEEN_CHECKS = 0.25
SECONDS_BETWEEN_MESSAGES = 1.0

NODE_NAMES = {"txt2vid": "Text2Video", "upscaler": "Upscale", "txt2img": "Flux LoRA"}
"""The names of task types, as their nodes have them."""

Key = tuple[str, str | None]
"""A task's server and id."""

_queried: dict[Key, float] = {}
"""When the server was last asked about an open task, in monotonic seconds."""

_unknown: set[Key] = set()
"""The open tasks that their server does not know any more, as far as it was asked."""


def page(home: Path, query: dict[str, str], user: str | None = None) -> dict[str, Any]:
    """A page of tasks, newest first: ``limit``, ``before`` (the last page's ``next``), ``state``, ``text``.

    ``state`` may name several, separated by commas. Each word of ``text`` must appear in the prompt, the kind, an id or
    the message. ``total`` counts the tasks with this state and text, ``all`` those in the ledger, ``running`` those
    that are known to be under way, and ``earlier`` those among them that no node waits for now. With a ``user``, tasks
    of others count as not there; those that the command line or a program created are everybody's. Raises ValueError
    for a number that is none.
    """
    limit = max(1, min(int(query.get("limit", PAGE)), LARGEST_PAGE))
    before = int(query["before"]) if query.get("before") else None
    if before is not None and not 0 <= before < 2**63:  # The ledger has no such numbers.
        raise ValueError("before is the number of no task")
    words = query.get("text", "").lower().split()
    with xalora_client.TaskRecords(home) as records:
        found, total = _find(records, limit, before, query.get("state", "").split(","), words, user)
        found = [
            record if record.state != "creating" or records.is_being_sent(record) else replace(record, state="doubtful")
            for record in found
        ]
        servers = _servers()
        under_way = [
            record
            for record in _open_tasks(records, user)
            if record.state in ("waiting", "running") and _doubt(record, servers) is None
        ]
        return {
            "tasks": [
                describe(record, None if record.is_final else records.usual_seconds(record), _doubt(record, servers))
                for record in found
            ],
            "total": total,
            "all": records.tasks(0, user=user)[1],
            "running": len(under_way),
            "earlier": sum(record.task_id not in NodeTasks.waited_for for record in under_way),
            "next": found[-1].number if len(found) == limit else None,
            "now": time.time(),
            "server": servers[0] if servers else None,
        }


def _open_tasks(records: xalora_client.TaskRecords, user: str | None = None) -> list[xalora_client.TaskRecord]:
    """Every open task that a server has given an id."""
    found, _ = records.tasks(NO_LIMIT, state="open", user=user)
    return [record for record in found if record.task_id is not None]


def _find(
    records: xalora_client.TaskRecords,
    limit: int,
    before: int | None,
    states: list[str],
    words: list[str],
    user: str | None,
) -> tuple[list[xalora_client.TaskRecord], int]:
    """A page of the tasks in one of the states and with all of the words, and how many there are."""
    # The ledger finds one text alone, and knows no names of nodes, so words are compared here.
    most, end = (NO_LIMIT, None) if words else (limit, before)
    pages = [records.tasks(most, before=end, state=state, user=user) for state in states]
    found = [record for page, _ in pages for record in page if _has(record, words)]
    total = len(found) if words else sum(total for _, total in pages)
    found.sort(key=lambda record: record.number, reverse=True)
    return [record for record in found if before is None or record.number < before][:limit], total


def _has(record: xalora_client.TaskRecord, words: list[str]) -> bool:
    searched = (_prompt(record), _kind(record), record.task_type, record.workflow_id)
    text = "\n".join(filter(None, (*searched, record.task_id, record.job_id, record.message))).lower()
    return all(word in text for word in words)


def _servers() -> list[str]:
    """The servers whose tasks can be asked about, that in force first; empty when the settings cannot be read."""
    try:
        settings = read_settings(comfy.home())
    except ConfigurationError:
        return []
    return [settings.server.value or "", *settings.servers, "sandbox"]


def _doubt(record: xalora_client.TaskRecord, servers: Sequence[str]) -> str | None:
    """Why the state of an open task is not known: "elsewhere" or "unknown". None: its server can be asked."""
    if record.is_final or record.task_id is None:
        return None
    if servers and record.server not in servers:
        return "elsewhere"
    return "unknown" if _key(record) in _unknown else None


def describe(
    record: xalora_client.TaskRecord, usual_seconds: float | None = None, doubt: str | None = None
) -> dict[str, Any]:
    """What the editor shows of one task, without its parameters.

    ``usual_seconds`` is how long an open one will probably take in all, ``doubt`` why its state is not known.
    ``progress`` is how far it is, as the node that waits for it heard from the miner: ``[value, maximum]``, or None.
    """
    progress = _progress().get(record.task_id or "")
    payload = record.to_json()
    del payload["parameters"]
    more = {
        "prompt": _prompt(record),
        "kind": _kind(record),
        "final": payload.pop("is_final"),
        "usual_seconds": usual_seconds,
        "doubt": doubt,
        "progress": None if progress is None or record.is_final else progress,
    }
    return payload | more


def _progress() -> dict[str, tuple[float, float]]:
    """How far the tasks are that nodes wait for, where that was measured: value and maximum."""
    waited_for = [(task_id, update.progress) for task_id, update in list(NodeTasks.waited_for.items())]
    return {task_id: (of.value, of.maximum) for task_id, of in waited_for if of is not None and not of.estimated}


def _prompt(record: xalora_client.TaskRecord) -> str | None:
    prompt = record.parameters.get("prompt") if isinstance(record.parameters, dict) else None
    return prompt[:LONGEST_PROMPT] if isinstance(prompt, str) else None


def _kind(record: xalora_client.TaskRecord) -> str:
    return NODE_NAMES.get(record.task_type, record.task_type)


def _key(record: xalora_client.TaskRecord) -> Key:
    return record.server, record.task_id


@functools.cache
def watch(home: Path) -> asyncio.Task[None]:
    """From now on, tell the open editors when the ledger of this home has changed, or how far a task is."""
    return asyncio.create_task(_watch(home, (signature(home), _progress())))


async def _watch(home: Path, reported: object) -> None:
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_CHECKS)
        if comfy.is_editor_open() and (now := (signature(home), _progress())) != reported:
            reported = now
            comfy.send(EVENT, {})
            await asyncio.sleep(SECONDS_BETWEEN_MESSAGES - SECONDS_BETWEEN_CHECKS)


def signature(home: Path) -> list[tuple[int, int] | None]:
    """What differs after each change of the ledger; reading it changes nothing."""
    return [_stat(home / name) for name in ("ledger.sqlite3", "ledger.sqlite3-wal")]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    # A reader makes an empty one, and removes it again.
    return (stat.st_mtime_ns, stat.st_size) if stat.st_size else None


def _record(home: Path, identifier: str) -> xalora_client.TaskRecord:
    """The ledger's record with this task or job id. Raises NotFoundError when there is none."""
    with xalora_client.TaskRecords(home) as records:
        record = records.find(identifier)
    if record is None:
        raise NotFoundError("", code="not_listed", task_id=identifier)
    return record


async def show(home: Path, identifier: str) -> dict[str, Any]:
    """Everything the ledger has about a task: also its parameters."""
    record = await asyncio.to_thread(_record, home, identifier)
    return {"task": describe(record) | {"parameters": record.parameters}}


async def cancel(home: Path, identifier: str) -> dict[str, Any]:
    """Cancel a task. One that has ended is no error: the answer has the task as it is then."""
    record = await asyncio.to_thread(_record, home, identifier)
    task_id = _task_id(record)
    async with _client(record.server) as client:
        message = await cancel_or_ended(client, task_id)
    return {"message": message, "task": describe(await asyncio.to_thread(_record, home, identifier))}


async def collect(home: Path, identifier: str) -> dict[str, Any]:
    """Ask about a task and download its result. ``view`` says where ComfyUI serves it, None if there is none yet.

    ``views`` are those of all its results.
    """
    record = await asyncio.to_thread(_record, home, identifier)
    paths = await asyncio.to_thread(xalora_client.TaskRecords(home).use_all_media, record)
    if not paths:
        task_id = _task_id(record)
        async with _client(record.server) as client:
            result = await client.query_task_result(task_id)
            if result.status == TaskStatus.FINISHED:
                paths = [file.path for file in await client.download_all(result)]
    views = (await asyncio.to_thread(outputs.preview, paths, moving=False)).get("images", [])
    task = describe(await asyncio.to_thread(_record, home, identifier))
    return {"view": views[0] if views else None, "views": views, "task": task}


async def forget(home: Path, identifier: str) -> dict[str, Any]:
    """Remove a task from the ledger. The task itself continues and is charged."""
    forgotten = await asyncio.to_thread(xalora_client.TaskRecords(home).forget, identifier)
    return {"forgotten": [record.number for record in forgotten]}


async def thumbnail(home: Path, identifier: str) -> tuple[str, bytes]:
    """A small JPEG of a task's stored result, and the name of the result. Raises NotFoundError when there is none."""
    record = await asyncio.to_thread(_record, home, identifier)
    # A list that is only looked through uses none of the files: those that are really used are kept longer.
    path = xalora_client.TaskRecords(home).media_path(record)
    if path is None:
        raise NotFoundError("", code="not_collected", task_id=record.task_id)
    return path.name, await asyncio.to_thread(_jpeg, path)


@functools.lru_cache(THUMBNAILS_KEPT)
def _jpeg(path: Path) -> bytes:
    return xalora_client.thumbnail(path)


_refreshing: asyncio.Task[dict[str, Any]] | None = None


async def refresh(home: Path) -> dict[str, Any]:
    """Ask the sequencer about the open tasks that are known to it; the ledger then has the answers.

    Those that were not asked about for the longest time come first. Calls at the same time share one round.

    ``asked`` counts the answers, ``finished`` those of finished tasks. ``problem`` says why others could not be asked
    about, or is None; ``error`` has its parts. Tasks at servers that the settings do not know are left out.
    """
    global _refreshing
    if _refreshing is None or _refreshing.done():
        _refreshing = asyncio.create_task(_refresh(home))
    return await _refreshing


async def _refresh(home: Path) -> dict[str, Any]:
    asked, finished = 0, 0
    problem: XaloraError | None = None
    with xalora_client.TaskRecords(home) as records:
        found = await asyncio.to_thread(_open_tasks, records)
    known = {_key(record) for record in found}
    for key in _queried.keys() - known:
        del _queried[key]
    _unknown.intersection_update(known)
    found.sort(key=lambda record: (_queried.get(_key(record), 0), record.number))
    order = _servers()
    for server in sorted({record.server for record in found}, key=lambda server: server not in order[:1]):
        chosen = [record for record in found if record.server == server][:MOST_REFRESHED]
        try:
            async with _client(server) as client:
                queries = [client.query_task_result(_task_id(record)) for record in chosen]
                answers = await asyncio.gather(*queries, return_exceptions=True)
        except ElsewhereError:
            continue
        except XaloraError as error:
            problem = error
            continue
        for record, answer in zip(chosen, answers, strict=True):
            key = _key(record)
            _queried[key] = time.monotonic()
            if isinstance(answer, NotFoundError):
                # A server may need a moment until it knows a new task.
                if time.time() - (record.submitted or record.created) > SECONDS_UNTIL_KNOWN:
                    _unknown.add(key)
            elif isinstance(answer, XaloraError):
                problem = answer
            elif isinstance(answer, BaseException):
                raise answer
            else:
                asked += 1
                finished += answer.status == TaskStatus.FINISHED
                _unknown.discard(key)
    payload = {"asked": asked, "finished": finished, "problem": problem and problem.text("nodes")}
    return payload | ({"error": for_extension(problem)} if problem else {})


def _task_id(record: xalora_client.TaskRecord) -> str:
    if record.task_id is None:
        raise ConfigurationError(code="no_id_yet", params={"job_id": record.job_id})
    return record.task_id


class ElsewhereError(ConfigurationError):
    """The task is at a server that the settings do not know."""


def _client(server: str) -> xalora_client.AsyncClient:
    """A client for a task's server. Raises ElsewhereError for one that the settings do not know.

    A key is sent only to the server it was set with.
    """
    options = xalora_client.AdvancedOptions(fallback_home=comfy.home(), source="node")
    client = xalora_client.AsyncClient(*server_arguments(server, comfy.home()), ledger=True, advanced=options)
    if client.config.workflow_url != server:
        params = {"server": server, "other": client.config.workflow_url}
        raise ElsewhereError(code="at_another_server", params=params)
    return client
