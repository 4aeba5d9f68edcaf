"""The endpoints for those who create tasks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from ...errors import InvalidParameterError, one_line
from ...protocol.miner import is_name
from ...protocol.parameters import MediaAddress, Whole
from ...protocol.tasks import CustomTask, WorkflowTask
from ...workflows import WorkflowKey, WorkflowList
from ..file_store import image_token_in
from ..inputs import Inputs, check_image_host
from ..pictures import ImageError
from ..queue import TaskQueue
from ..values import InputFile, NewTask
from .bodies import LONG_POLL_SECONDS, address, read_text, read_wait
from .errors import HTTPError
from .json_body import LARGE_BODY, LONG_TEXT, LongText, read_json
from .keys import ConsumerKeys

_ADDRESS = MediaAddress("")
_PRIORITY = Whole("which of one's waiting tasks comes first", minimum=-100, maximum=100)


async def read_task(queue: TaskQueue, body: Mapping[str, Any]) -> tuple[WorkflowTask, tuple[str, ...]]:
    """The task of a create, and which of its parameters are images that the sequencer fetches.

    Raises HTTPError for a workflow that no miner has, and InvalidParameterError for parameters that no miner takes.
    """
    details = body.get("task_details")
    parameters = details.get("parameters") if isinstance(details, dict) else None
    if not isinstance(parameters, dict):
        raise InvalidParameterError("task_details", details, 'an object like {"parameters": {...}}')
    workflow = await _workflow(queue, body)
    given = {name: value for name, value in parameters.items() if value is not None}
    options = {name: body.get(name) for name in ("workflow_id", "timeout_seconds")}
    task = CustomTask(workflow.task_type, given, **options)
    images = await queue.check(workflow, given)
    return task, tuple(sorted(name for name in images if _ADDRESS.accepts(given.get(name))))


async def read_workflow(queue: TaskQueue, body: Mapping[str, Any]) -> WorkflowKey | None:
    """Which workflow a request is about; None if it names none. Raises HTTPError and InvalidParameterError."""
    return None if body.get("task_type") is None else await _workflow(queue, body)


async def _workflow(queue: TaskQueue, body: Mapping[str, Any]) -> WorkflowKey:
    task_type, workflow_id = body.get("task_type"), body.get("workflow_id")
    names = await queue.workflow_names()
    if not names:
        raise HTTPError(503, "no miner has been here yet, so nothing can run; start one with `xalora miner`")
    if not is_name(task_type):
        raise InvalidParameterError("task_type", task_type, names)
    if workflow_id is not None and not is_name(workflow_id):
        raise InvalidParameterError("workflow_id", workflow_id, "letters, digits, dashes and underscores")
    workflow = WorkflowKey(str(task_type), workflow_id)
    if not await queue.has_workflow(workflow):
        why = await queue.why_left_out(workflow)
        lacking = f"no miner offers the workflow {workflow}; " + (f"{why}; " if why else "")
        raise HTTPError(400, f"{lacking}offered are: {names}")
    return workflow


@dataclass(frozen=True)
class ConsumerRoutes:
    """Create, query, cancel, and asking for a miner.

    Attributes:
        queue: The tasks.
        inputs: Their inputs.
        keys: Who is let in.
        read_task: Reads the task of a create, and which of its parameters are images that the sequencer fetches.
        read_workflow: Reads which workflow a request is about; None for any.
        list_workflows: What there is to run, of a task type and a workflow id; None for any.
        service: What this server is called in messages.
        local: Whether images may be in private networks.
        on_query: Called with the seconds that a query took, without the wait that was asked for.
    """

    queue: TaskQueue
    inputs: Inputs
    keys: ConsumerKeys
    read_task: Callable[[Mapping[str, Any]], Awaitable[tuple[WorkflowTask, tuple[str, ...]]]]
    read_workflow: Callable[[Mapping[str, Any]], Awaitable[WorkflowKey | None]]
    list_workflows: Callable[[str | None, str | None], Awaitable[WorkflowList]]
    service: str
    local: bool
    on_query: Callable[[float], object] = lambda seconds: None

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [
            web.post("/task_create", self.task_create),
            web.post("/task_result_query", self.task_result_query),
            web.post("/task_cancel", self.task_cancel),
            web.post("/resource_request", self.resource_request),
            web.post("/workflow_list", self.workflow_list),
        ]

    async def task_create(self, request: web.Request) -> web.StreamResponse:
        """Queue a task: ``{"task_id", "msg", "revision", "long_poll_seconds"}``.

        For a job id that the same consumer used before with the same key, the answer is the existing task, and no new
        one is created. This is our own addition: no other sequencer is known to promise it. So is ``priority``, from
        -100 to 100: among the waiting tasks of one key, those with higher ones come first.
        """
        body = await read_json(request, self.keys.consumer_and_key, LARGE_BODY)
        consumer_id, api_key = body["consumer_id"], body["api_key"]
        job_id, owner = read_text(body, "job_id"), self.queue.owner(api_key)
        task_id = await self.queue.find_by_job_id(owner, consumer_id, job_id)
        msg = "this job_id was submitted before"
        if task_id is None:
            long = take_long(body)
            task, images = await self.read_task(body)
            if wrong := long.keys() - set(images):
                raise HTTPError(413, f"{one_line(min(wrong), 60)} has more than {LONG_TEXT // 2**20} MiB")
            details: dict[str, Any] = dict(task.task_details)
            inputs: dict[str, InputFile | None] = dict.fromkeys(images)
            for name in images:
                if name in long:
                    inputs[name] = await self._store(name, long[name])
                else:
                    await self._check_image(request, name, details["parameters"][name], owner)
            new = NewTask(
                workflow=WorkflowKey(task.task_type, task.workflow_id),
                details=details,
                inputs=inputs,
                timeout_seconds=task.timeout_seconds or None,
                owner=owner,
                consumer_id=consumer_id,
                job_id=job_id,
                priority=_read_priority(body),
            )
            created = await self.queue.create(new)
            task_id = created.task_id
            if created.is_new:
                msg = "; ".join(filter(None, [f"queued in the {self.service}", created.why_waiting]))
        return web.json_response(
            {"task_id": task_id, "msg": msg, "revision": 0, "long_poll_seconds": LONG_POLL_SECONDS}
        )

    async def task_result_query(self, request: web.Request) -> web.StreamResponse:
        """Answer with a task's state. Fields without a value (yet) are left out.

        ``result`` is the address of a finished task's media, and ``results`` are those of all if there are several.

        With ``wait_seconds`` and ``after``, the last revision seen, it waits for the next change, at most so long.
        """
        begun = time.perf_counter()
        body = await read_json(request, self.keys.key)
        owner, task_id = self.queue.owner(body["api_key"]), read_text(body, "task_id")
        seconds, after, waited = read_wait(body), body.get("after"), 0.0
        after = after if isinstance(after, int) and not isinstance(after, bool) else -1
        task = await self.queue.query(task_id, owner, after)
        if seconds:
            waiting = time.perf_counter()
            await self.queue.watch(task_id, after, seconds)
            waited = time.perf_counter() - waiting
            task = await self.queue.query(task_id, owner, after)
        fields: dict[str, Any] = vars(task) | {"long_poll_seconds": LONG_POLL_SECONDS}
        media, count = fields.pop("media"), fields.pop("results")
        if media is not None:
            fields["result"] = first = address(request, f"media/{media}")
            if count > 1:
                fields["results"] = [first, *(f"{first}/{number}" for number in range(2, count + 1))]
        answer = web.json_response({name: value for name, value in fields.items() if value is not None})
        self.on_query(time.perf_counter() - begun - waited)
        return answer

    async def task_cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel a task: ``{"task_id", "msg"}``. If it has already ended, the msg says so."""
        body = await read_json(request, self.keys.key)
        owner = self.queue.owner(body["api_key"])
        before = await self.queue.cancel(read_text(body, "task_id"), owner)
        msg = "canceled" if before.is_open else f"nothing to cancel: the task was already {before.status}"
        return web.json_response({"task_id": before.task_id, "msg": msg})

    async def resource_request(self, request: web.Request) -> web.StreamResponse:
        """Name a miner that would take such a task: ``{"miner_id"}``.

        Without a task type it is any, and ``left_out`` says why no miner runs other workflows, where there are such.
        """
        body = await read_json(request, self.keys.consumer_and_key)
        workflow = await self.read_workflow(body)
        miner = await self.queue.find_miner(workflow)
        if miner is None:
            why = workflow and await self.queue.why_left_out(workflow)
            advice = why or "start one with `xalora miner`"
            raise HTTPError(503, f"no miner that runs this is connected at the moment; {advice}")
        left_out = await self.queue.all_left_out() if workflow is None else []
        return web.json_response({"miner_id": miner} | ({"left_out": left_out} if left_out else {}))

    async def workflow_list(self, request: web.Request) -> web.StreamResponse:
        """What there is to run: ``{"workflows", "away", "left_off", "left_out"?}``; see ``WorkflowList``.

        This is our own addition. With ``task_type`` or ``workflow_id``, only what has those.
        """
        body = await read_json(request, self.keys.consumer_and_key)
        wanted = [None if body.get(name) is None else read_text(body, name) for name in ("task_type", "workflow_id")]
        return web.json_response((await self.list_workflows(*wanted)).to_json())

    async def _store(self, name: str, uri: LongText) -> InputFile:
        """Store the bytes of a large ``data:`` URI: in the database they would hold up everybody else."""
        try:
            return await self.inputs.store(uri.pieces())
        except ImageError as error:
            raise HTTPError(400, f"{name}: {error}") from None
        finally:
            uri.release()

    async def _check_image(self, request: web.Request, name: str, value: str, owner: bytes) -> None:
        """Refuse at once what could not be fetched in any case."""
        if await self.inputs.has(value, owner):
            return
        if image_token_in(value) is not None and value.startswith(address(request, "images/")):
            raise InvalidParameterError(name, "an address of an image that is not here", "one uploaded within a day")
        try:
            check_image_host(value, local=self.local)
        except ImageError as error:
            raise HTTPError(400, str(error)) from None


def take_long(body: Mapping[str, Any]) -> dict[str, LongText]:
    """Take the long texts out of a create's parameters, and leave only their beginnings, to be checked and kept."""
    details = body.get("task_details")
    parameters = details.get("parameters") if isinstance(details, dict) else None
    if not isinstance(parameters, dict):
        return {}
    long = {name: text for name, text in parameters.items() if isinstance(text, LongText)}
    parameters.update((name, str(text)) for name, text in long.items())
    return long


def _read_priority(body: Mapping[str, Any]) -> int:
    priority = body.get("priority", 0)
    _PRIORITY.check("priority", priority)
    return int(priority)
