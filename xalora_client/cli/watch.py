"""``xalora status`` and ``xalora tasks``: how tasks are now, and with ``--watch`` each change until they have ended."""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
from collections.abc import Sequence

from ..client.async_ import AsyncClient
from ..client.records import TaskRecords
from ..client.session import RETRY_SECONDS
from ..client.updates import TaskUpdate
from ..errors import ConfigurationError, NetworkError, XaloraError
from ..ledger import TaskRecord
from ..protocol.answers import TaskStatus, WorkflowTaskResult
from .commands import client_of, result_of
from .outcome import described, exit_code, print_result, text

WIDEST_TEXT = 40


async def status(arguments: argparse.Namespace) -> int:
    """``xalora status ID…``: 1 when one of the tasks failed or was canceled, else 0."""
    async with client_of(arguments) as client:
        if arguments.watch:
            return await _watch(arguments, client, arguments.task_ids)
        if len(arguments.task_ids) == 1:
            result = await client.query_task_result(arguments.task_ids[0])
            print_result(arguments, result_of(result), _line(result))
            return _code(result)
        return max(await asyncio.gather(*(_show(arguments, client, task_id) for task_id in arguments.task_ids)))


async def tasks(arguments: argparse.Namespace) -> int:
    """``xalora tasks``: newest first, from the ledger only. No server is asked, but to ``--watch``."""
    with TaskRecords() as ledger:
        if arguments.forget:
            records = ledger.forget(arguments.forget)
            if not records:
                raise ConfigurationError(
                    f"The ledger has no task {arguments.forget}", advice="`xalora tasks` lists those it has."
                )
            lines = [f"Forgotten: {arguments.forget}. The task itself continues and is charged."]
        else:
            records, _ = ledger.tasks(arguments.limit, state=arguments.state)
            lines = _table(records)
    name = "forgotten" if arguments.forget else "tasks"
    print_result(arguments, {name: [record.to_json() for record in records]}, *lines)
    if not records and not arguments.json:
        which = f" of tasks that are {arguments.state}" if arguments.state else ""
        print(f"xalora: the ledger is empty{which}", file=sys.stderr)
    opened = [record for record in records if record.task_id and not record.is_final]
    if not (arguments.watch and opened):
        return 0
    async with client_of(arguments) as client:
        here = [str(record.task_id) for record in opened if record.server == client.config.workflow_url]
        if len(here) < len(opened):
            elsewhere = len(opened) - len(here)
            print(f"xalora: {elsewhere} open tasks of other servers are not watched", file=sys.stderr)
        return await _watch(arguments, client, here)


async def _show(arguments: argparse.Namespace, client: AsyncClient, task_id: str) -> int:
    try:
        result = await client.query_task_result(task_id)
    except XaloraError as error:
        return _report(arguments, task_id, error)
    print_result(arguments, result_of(result), f"{task_id} {_line(result)}")
    return _code(result)


async def _watch(arguments: argparse.Namespace, client: AsyncClient, task_ids: Sequence[str]) -> int:
    """Print a line for each change of each task, until all have ended. Being stopped cancels nothing."""

    async def watch(task_id: str) -> int:
        seen, answered = "", 0.0

        def show(update: TaskUpdate) -> None:
            nonlocal seen, answered
            if update.last_error is None:
                answered = update.elapsed
            elif update.elapsed - answered > RETRY_SECONDS:
                raise NetworkError(f"No answer for {RETRY_SECONDS:.0f} s: {update.last_error}", task_id=task_id)
            result = update.result
            progress = "" if _estimated(update) else update.progress
            state = f"{update.status} {update.last_error} {result and result.why_waiting} {progress}"
            if state == seen or (result is not None and result.is_final):
                return
            seen, line = state, f"{task_id} {update.describe()}"
            if update.last_error is not None:
                print(line, file=sys.stderr)
            elif result is not None:
                print_result(arguments, result_of(result) | _progress(update), line)

        try:
            result = await client.wait_for_result(task_id, math.inf, on_update=show)
        except XaloraError as error:
            return _report(arguments, task_id, error)
        print_result(arguments, result_of(result), f"{task_id} {_line(result)}")
        return _code(result)

    try:
        return max(await asyncio.gather(*map(watch, task_ids)), default=0)
    except asyncio.CancelledError:
        print("No task was canceled. `xalora cancel ID` does that.", file=sys.stderr)
        raise


def _estimated(update: TaskUpdate) -> bool:
    return update.progress is not None and update.progress.estimated


def _progress(update: TaskUpdate) -> dict[str, object]:
    progress = None if _estimated(update) else update.progress
    return {"progress": progress and {"value": progress.value, "maximum": progress.maximum, "title": progress.title}}


def _report(arguments: argparse.Namespace, task_id: str, error: XaloraError) -> int:
    error = error.derived(task_id=task_id)
    print(f"xalora: {text(error)}", file=sys.stderr)
    print_result(arguments, described(error))
    return exit_code(error)


def _line(result: WorkflowTaskResult) -> str:
    return " ".join(filter(None, [str(result.status), *result.media_urls, result.message]))


def _code(result: WorkflowTaskResult) -> int:
    return 1 if result.status in (TaskStatus.FAILED, TaskStatus.CANCELED) else 0


def _table(records: list[TaskRecord]) -> list[str]:
    rows = [("TASK", "STATE", "TYPE", "CREATED", "BY", "WHAT")] if records else []
    for record in records:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.created))
        # A task without an id yet is listed by its job id.
        name = record.task_id or record.job_id
        rows.append((name, record.state, record.task_type, created, record.source, _subject(record)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _subject(record: TaskRecord) -> str:
    """The prompt, or the parameters with the names of files, in a few words."""
    parameters = record.parameters if isinstance(record.parameters, dict) else {}
    others = (f"{name}={_word(value)}" for name, value in parameters.items())
    line = " ".join(str(parameters.get("prompt") or ", ".join(others) or "-").split())
    return line if len(line) <= WIDEST_TEXT else f"{line[: WIDEST_TEXT - 1]}…"


def _word(value: object) -> object:
    """A parameter's value. Of an image and a long text the ledger has the hash, and of a file the name."""
    if not isinstance(value, dict) or "sha256" not in value:
        return value
    return value.get("name") or ("image" if "media_type" in value else "a long text")
