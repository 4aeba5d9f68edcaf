"""The endpoints for miners: register, ask for a task, renew its lease, and submit its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from ...errors import one_line
from ...protocol import miner as wire
from ...workflows import Capability
from ..queue import LEASE_SECONDS, TaskQueue
from ..values import Attempt, LeaseId, LeaseLost, NotRegisteredError, Occupied, Result
from .bodies import LONG_POLL_SECONDS, address, read_text, read_wait
from .errors import HTTPError
from .json_body import read_json
from .keys import MinerKeys

_HEARTBEAT_SECONDS = 10.0


@dataclass(frozen=True)
class MinerRoutes:
    """``workflow_files`` are what miners without a folder of their own get."""

    queue: TaskQueue
    keys: MinerKeys
    workflow_files: Mapping[str, Any]

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [
            web.post("/miner_register", self.register),
            web.post("/miner_workflows", self.workflows),
            web.post("/miner_request", self.request),
            web.post("/miner_busy", self.occupied),
            web.post("/miner_heartbeat", self.heartbeat),
            web.post("/miner_submit", self.submit),
        ]

    async def register(self, request: web.Request) -> web.StreamResponse:
        """Register a miner with what it can run."""
        body = await read_json(request, self.keys.name)
        name, instance = self.keys.name(body), wire.read_instance(body)
        if instance is None:
            raise HTTPError(400, "instance is missing")
        announced = wire.read_workflows(body)
        try:
            capabilities = [Capability.from_json(workflow) for workflow in announced]
        except (ValueError, OverflowError) as error:
            raise HTTPError(400, f"workflows cannot be read: {one_line(str(error))}") from None
        await self.queue.register(name, instance, capabilities, wire.read_software(body), wire.read_left_out(body))
        return web.json_response({"lease_seconds": LEASE_SECONDS, "long_poll_seconds": LONG_POLL_SECONDS})

    async def workflows(self, request: web.Request) -> web.StreamResponse:
        """Give the workflow files of this sequencer."""
        await read_json(request, self.keys.name)
        return web.json_response({"workflows": self.workflow_files})

    async def request(self, request: web.Request) -> web.StreamResponse:
        """Give a task, or ``{"msg"}``. ``{"register": true}`` when this process does not know the miner."""
        body = await read_json(request, self.keys.name)
        name, instance, seconds = self.keys.name(body), wire.read_instance(body), read_wait(body)
        if instance is None:
            seconds = 0.0
            task_id = await self.queue.renew_public(name, wire.read_ids(body))
            if task_id is not None:
                return web.json_response({"msg": f"task {task_id} is running"})
        try:
            attempt = await self.queue.claim_next(
                name, instance, seconds=seconds, is_connected=partial(_is_open, request)
            )
        except NotRegisteredError:
            return web.json_response({"msg": "register first", "register": True})
        if attempt is None:
            return web.json_response({"msg": "no task at the moment"})
        return web.json_response(_assignment(request, attempt).to_json())

    async def occupied(self, request: web.Request) -> web.StreamResponse:
        """Note why a miner does not ask for tasks: ``{"msg"}``, or ``{"register": true}`` as for ``miner_request``."""
        body = await read_json(request, self.keys.name)
        prompt_id = read_text(body, "prompt_id") if body.get("prompt_id") is not None else None
        occupied = Occupied(one_line(wire.read_remark(body) or "it does not say why"), prompt_id)
        try:
            await self.queue.note_occupied(self.keys.name(body), wire.read_instance(body), occupied)
        except NotRegisteredError:
            return web.json_response({"msg": "register first", "register": True})
        return web.json_response({"msg": "noted"})

    async def heartbeat(self, request: web.Request) -> web.StreamResponse:
        """Renew a lease, and wait on request for its end: ``{"lease_seconds"}`` or ``{"stop": why}``."""
        body = await read_json(request, self.keys.name)
        name = self.keys.name(body)
        lease = LeaseId(read_text(body, "task_id"), read_text(body, "lease"), name)
        seconds = min(read_wait(body), _HEARTBEAT_SECONDS)
        try:
            progress = wire.read_progress(body.get("progress"))
            await self.queue.renew(lease, progress, seconds=seconds, is_connected=partial(_is_open, request))
        except LeaseLost as lost:
            return web.json_response({"stop": str(lost)})
        return web.json_response({"lease_seconds": LEASE_SECONDS})

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """Take the end of a task: ``{"msg"}``; 409 for a lease that is over. The same submit again is no error."""
        body = await read_json(request, partial(self.keys.name, field="miner_id"))
        name, task_id = self.keys.name(body, "miner_id"), read_text(body, "task_id")
        lease = LeaseId(task_id, await self._lease(body, task_id, name), name)
        give_back = body.get("give_back")
        if body.get("success") is True:
            seconds = wire.read_seconds(body, "inference_latency"), wire.read_seconds(body, "upload_latency")
            file, *more = wire.read_results(body)
            result = Result(file, *seconds, wire.read_remark(body), more=tuple(more))
            is_new = await self.queue.finish(lease, result)
        elif give_back in wire.REQUEUE_REASONS:
            is_new = await self.queue.requeue(lease, give_back, wire.read_remark(body))
        elif not wire.names_node(body):
            is_new = await self.queue.requeue(lease, "unable", wire.read_failure(body))
        else:
            is_new = await self.queue.end(lease, wire.read_failure(body))
        return web.json_response({"msg": "thank you" if is_new else "submitted before"})

    async def _lease(self, body: Mapping[str, Any], task_id: str, name: str) -> str:
        """The lease that is submitted. A public miner has none to send, so its name must do."""
        if "lease" in body:
            return read_text(body, "lease")
        token = await self.queue.public_lease(name, task_id)
        if token is None:
            raise HTTPError(409, "this miner does not hold the task")
        return token


def _assignment(request: web.Request, attempt: Attempt) -> wire.Assignment:
    inputs = {
        name: wire.Input(address(request, f"miner_input/{attempt.input_token}-{number}"), file.content_type, file.size)
        for number, (name, file) in enumerate(attempt.inputs.items())
    }
    # A public miner fetches the parameter's value; ours fetch the bytes from ``inputs``.
    described = {
        name: file.url if attempt.is_public else f"{file.content_type}, {file.size} bytes"
        for name, file in inputs.items()
    }
    return wire.Assignment(
        task_id=attempt.lease.task_id,
        task_type=attempt.workflow.task_type,
        workflow_id=attempt.workflow.workflow_id,
        parameters={**attempt.parameters, **described},
        inputs=inputs,
        prompt_id=attempt.prompt_id,
        lease=attempt.lease.token,
        seconds_left=attempt.seconds_left,
        upload_url=address(request, f"miner_upload/{attempt.upload_token}"),
        attempt=attempt.number,
        lease_seconds=LEASE_SECONDS,
        most_results=wire.MOST_RESULTS,
    )


def _is_open(request: web.Request) -> bool:
    """Whether an answer would reach the one who asks."""
    return request.transport is not None and not request.transport.is_closing()
