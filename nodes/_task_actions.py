"""What the editor can do with a task of the ledger: ask about it, cancel it, collect it, forget it."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..xalora_client import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    TaskStatus,
    XaloraError,
)
from . import _error_messages, _host, _task_list
from ._task_list import describe

if TYPE_CHECKING:
    from ..xalora_client import AsyncClient, TaskRecord

MOST_REFRESHED = 50
SECONDS_UNTIL_KNOWN = 60
THUMBNAILS_KEPT = 1000


def find(home: Path, identifier: str) -> TaskRecord:
    """The ledger's record with this task or job id. Raises NotFoundError when there is none."""
    from ..xalora_client import TaskRecords

    with TaskRecords(home) as records:
        record = records.find(identifier)
    if record is None:
        raise NotFoundError("This task is not in the list", task_id=identifier, advice="Open the list again.")
    return record


async def show(home: Path, identifier: str) -> dict[str, Any]:
    """Everything the ledger says about a task: also its parameters."""
    record = await asyncio.to_thread(find, home, identifier)
    return {"task": describe(record) | {"parameters": record.parameters}}


async def cancel(home: Path, identifier: str) -> dict[str, Any]:
    """Cancel a task. One that has ended is no error: the answer has the task as it is then."""
    record = await asyncio.to_thread(find, home, identifier)
    task_id = _task_id(record)
    async with await _client(record.server) as client:
        try:
            message = await client.cancel_task(task_id)
        except (BadRequestError, ConflictError) as error:
            # A server may refuse to cancel what has ended.
            if not (await client.query_task_result(task_id)).is_final:
                raise
            message = error.message
    return {"message": message, "task": describe(await asyncio.to_thread(find, home, identifier))}


async def collect(home: Path, identifier: str) -> dict[str, Any]:
    """Ask about a task and download its result. ``view`` says where ComfyUI serves it, None if there is none yet."""
    record = await asyncio.to_thread(find, home, identifier)
    view = await asyncio.to_thread(_view_stored, home, record)
    if view is None:
        task_id = _task_id(record)
        async with await _client(record.server) as client:
            result = await client.query_task_result(task_id)
            if result.status == TaskStatus.FINISHED:
                file = await client.download(result)
                view = await asyncio.to_thread(_view, file.path)
    return {"view": view, "task": describe(await asyncio.to_thread(find, home, identifier))}


async def forget(home: Path, identifier: str) -> dict[str, Any]:
    """Remove a task from the ledger. The task itself continues and is charged."""
    from ..xalora_client import TaskRecords

    forgotten = await asyncio.to_thread(lambda: TaskRecords(home).forget(identifier))
    return {"forgotten": [record.number for record in forgotten]}


_refreshing: asyncio.Task[dict[str, Any]] | None = None
_asked: dict[tuple[str, str | None], float] = {}


async def refresh(home: Path) -> dict[str, Any]:
    """Ask the sequencer about the open tasks that are known to it; the ledger then has the answers.

    Those that were not asked about for the longest time come first. Calls at the same time share one round.

    ``asked`` counts the answers, ``finished`` those of finished tasks. ``problem`` says why others could not be asked
    about, or is None. Tasks at servers that the settings do not name are left out.
    """
    global _refreshing
    if _refreshing is None or _refreshing.done():
        _refreshing = asyncio.create_task(_refresh(home))
    return await _refreshing


async def _refresh(home: Path) -> dict[str, Any]:
    asked, finished, problem = 0, 0, None
    by_server: dict[str, list[TaskRecord]] = {}
    found = await asyncio.to_thread(_open_tasks, home)
    for record in found:
        by_server.setdefault(record.server, []).append(record)
    known = {_key(record) for record in found}
    for key in _asked.keys() - known:
        del _asked[key]
    _task_list.unknown.intersection_update(known)
    for server, records in by_server.items():
        records.sort(key=lambda record: (_asked.get(_key(record), 0), record.number))
        chosen = records[:MOST_REFRESHED]
        try:
            async with await _client(server) as client:
                queries = [client.query_task_result(_task_id(record)) for record in chosen]
                answers = await asyncio.gather(*queries, return_exceptions=True)
        except ElsewhereError:
            continue
        except XaloraError as error:
            problem = _error_messages.text(error)
            continue
        for record, answer in zip(chosen, answers, strict=True):
            key = _key(record)
            _asked[key] = time.monotonic()
            if isinstance(answer, NotFoundError):
                # A server may need a moment until it knows a new task.
                if time.time() - (record.submitted or record.created) > SECONDS_UNTIL_KNOWN:
                    _task_list.unknown.add(key)
            elif isinstance(answer, XaloraError):
                problem = _error_messages.text(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                asked += 1
                finished += answer.status == TaskStatus.FINISHED
                _task_list.unknown.discard(key)
    return {"asked": asked, "finished": finished, "problem": problem}


def _open_tasks(home: Path) -> list[TaskRecord]:
    from ..xalora_client import TaskRecords

    with TaskRecords(home) as records:
        return _task_list.open_tasks(records)


def _key(record: TaskRecord) -> tuple[str, str | None]:
    return record.server, record.task_id


_thumbnails: OrderedDict[str, bytes] = OrderedDict()


async def thumbnail(home: Path, identifier: str) -> tuple[str, bytes]:
    """A small JPEG of a task's stored result, and what names it. Raises NotFoundError when there is none."""
    record = await asyncio.to_thread(find, home, identifier)
    name = record.media or ""
    if name not in _thumbnails:
        _thumbnails[name] = await asyncio.to_thread(_thumbnail_of, home, record)
        if len(_thumbnails) > THUMBNAILS_KEPT:
            _thumbnails.popitem(last=False)
    return name, _thumbnails[name]


def _thumbnail_of(home: Path, record: TaskRecord) -> bytes:
    from ..xalora_client import TaskRecords, thumbnail

    # Whoever looks through a list uses none of the files: those that are really used stay longer.
    path = TaskRecords(home).media_path(record)
    if path is None:
        raise NotFoundError("The result is not on this machine", task_id=record.task_id, advice="Collect the task.")
    return thumbnail(path)


def _task_id(record: TaskRecord) -> str:
    if record.task_id is None:
        raise ConfigurationError(
            f"The sequencer has given no id for job {record.job_id}",
            advice="Run the same task again: it is taken up under its job id.",
        )
    return record.task_id


class ElsewhereError(ConfigurationError):
    """The task is at a server that the settings do not name."""


async def _client(server: str) -> AsyncClient:
    """A client for a task's server. Raises ElsewhereError when the settings name another one.

    A key is sent only to the server it was set with, so another server's task has to wait.
    """
    from ..xalora_client import AsyncClient

    def make() -> AsyncClient:
        # The sandbox's key is no secret, and it needs no settings.
        only = server if server == "sandbox" else None
        client = AsyncClient(workflow_url=only, fallback_home=_host.home(), ledger=True, source="node")
        if client.config.workflow_url != server:
            raise ElsewhereError(
                f"This task is at {server}, and the settings name {client.config.workflow_url}",
                advice="Set that server and its key in Settings, Xalora.",
            )
        return client

    return await asyncio.to_thread(make)


def _view_stored(home: Path, record: TaskRecord) -> dict[str, Any] | None:
    from ..xalora_client import TaskRecords

    path = TaskRecords(home).use_media(record)
    return None if path is None else _view(path)


def _view(path: Path) -> dict[str, Any] | None:
    shown = _host.preview([path], moving=False).get("images")
    return shown[0] if shown else None
