"""The endpoints for miners: register, ask for a task, keep it, and submit its end."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import Any

from aiohttp import web

from ..protocol.miner import (
    read_failure,
    read_ids,
    read_instance,
    read_progress,
    read_remark,
    read_seconds,
    read_software,
)
from .clock import Clock
from .dispatcher import LEASE_SECONDS, Dispatcher, LeaseOver
from .http import LONG_POLL_SECONDS, Refusal, address, read_body, read_miner, read_text, read_wait
from .miners import Miner
from .offers import read_variants
from .progress import set_progress
from .registry import Registry
from .results import Results
from .store import Store
from .tokens import INPUT, UPLOAD
from .work import Lease, Work

_HEARTBEAT_SECONDS = 10.0
_LONGEST_PUBLIC_SECONDS = 3600.0


class MinerRoutes:
    """``workflow_files`` are what miners without a folder of their own get."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        registry: Registry,
        results: Results,
        clock: Clock,
        *,
        miner_key: str | None,
        workflow_files: dict[str, Any],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._registry = registry
        self._results = results
        self._clock = clock
        self._miner_key = miner_key
        self._workflow_files = workflow_files

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [
            web.post("/miner_register", self.register),
            web.post("/miner_workflows", self.workflows),
            web.post("/miner_request", self.request),
            web.post("/miner_heartbeat", self.heartbeat),
            web.post("/miner_submit", self.submit),
        ]

    async def register(self, request: web.Request) -> web.StreamResponse:
        """Take up a miner with what it can run."""
        body = await read_body(request)
        name, instance = read_miner(body, self._miner_key), read_instance(body)
        if instance is None:
            raise Refusal(400, "instance is missing")
        self._registry.register(name, instance, read_variants(body), read_software(body))
        return web.json_response({"lease_seconds": LEASE_SECONDS, "long_poll_seconds": LONG_POLL_SECONDS})

    async def workflows(self, request: web.Request) -> web.StreamResponse:
        """Give the workflow files of this sequencer."""
        read_miner(await read_body(request), self._miner_key)
        return web.json_response({"workflows": self._workflow_files})

    async def request(self, request: web.Request) -> web.StreamResponse:
        """Give a task, or ``{"msg"}``. ``{"register": true}`` when this process does not know the miner."""
        body = await read_body(request)
        name, instance = read_miner(body, self._miner_key), read_instance(body)
        if instance is None:
            return await self._request_of_public(request, name, body)
        miner = self._registry.find(name, instance)
        if miner is None:
            return web.json_response({"msg": "register first", "register": True})
        is_open = partial(_is_open, request)
        with miner.listening(is_open):
            taken = await self._dispatcher.take(miner, read_wait(body), is_open)
        if is_open():
            miner.seen = self._clock.time()
        if taken is None:
            return web.json_response({"msg": "no task at the moment"})
        return web.json_response(self._task(request, *taken))

    async def heartbeat(self, request: web.Request) -> web.StreamResponse:
        """Renew a lease, and wait on request for its end: ``{"lease_seconds"}`` or ``{"stop": why}``."""
        body = await read_body(request)
        name, task_id, token = read_miner(body, self._miner_key), read_text(body, "task_id"), read_text(body, "lease")
        self._registry.heard_of(name)
        try:
            work = self._dispatcher.hold(task_id, token, name)
            said = read_progress(body.get("progress"))
            if said is not None:
                set_progress(work, *said, self._clock)
            seconds = min(read_wait(body), _HEARTBEAT_SECONDS)
            if seconds and work.lease is not None and not self._dispatcher.stopped:
                miner, is_open = self._dispatcher.miners.get(name), partial(_is_open, request)
                with nullcontext() if miner is None else miner.listening(is_open):
                    await work.lease.watchers.wait(self._clock, seconds)
                # A miner that hung up meanwhile may be dead: that is no sign of life.
                if is_open() and not self._dispatcher.stopped:
                    self._registry.heard_of(name)
                    self._dispatcher.hold(task_id, token, name)
        except LeaseOver as over:
            return web.json_response({"stop": over.why})
        return web.json_response({"lease_seconds": LEASE_SECONDS})

    async def submit(self, request: web.Request) -> web.StreamResponse:
        """Take the end of a task: ``{"msg"}``; 409 for a lease that is over."""
        body = await read_body(request)
        name, task_id = read_miner(body, self._miner_key, "miner_id"), read_text(body, "task_id")
        self._registry.heard_of(name)
        token = self._token(body, task_id, name)
        try:
            work = self._dispatcher.hold(task_id, token, name)
        except LeaseOver as over:
            return self._submitted_late(task_id, token, over)
        give_back = body.get("give_back")
        if body.get("success") is True:
            self._finish(work, body)
        elif give_back in ("lost", "stopping"):
            self._dispatcher.give_back(task_id, token, counts=give_back == "lost", why=read_remark(body))
        else:
            self._dispatcher.give_up(task_id, "failed", "error", read_failure(body))
        return web.json_response({"msg": "thank you"})

    async def _request_of_public(self, request: web.Request, name: str, body: dict[str, Any]) -> web.StreamResponse:
        """A public miner sends no heartbeats, but goes on asking while it works: that renews its lease.

        Not forever: it also goes on asking when the task never reached it, or when its submit was lost.
        """
        miner: Miner = self._registry.public(name, read_ids(body))
        for work in list(miner.holds):
            if work.lease is not None and self._clock.time() - work.lease.began > _LONGEST_PUBLIC_SECONDS:
                self._dispatcher.give_back(work.task_id, work.lease.token, counts=True)
            elif work.lease is not None:
                self._dispatcher.hold(work.task_id, work.lease.token)
                return web.json_response({"msg": f"task {work.task_id} is running"})
        taken = await self._dispatcher.take(miner, 0.0)
        return web.json_response({"msg": "no task at the moment"} if taken is None else self._task(request, *taken))

    def _token(self, body: dict[str, Any], task_id: str, name: str) -> str:
        """The lease that is submitted. A public miner has none to send, so its name must do."""
        if "lease" in body:
            return read_text(body, "lease")
        miner, work = self._dispatcher.miners.get(name), self._dispatcher.find(task_id)
        if miner is not None and miner.instance is None and work is not None and work.lease is not None:
            return work.lease.token
        raise Refusal(409, "this miner does not hold the task")

    def _submitted_late(self, task_id: str, token: str, over: LeaseOver) -> web.StreamResponse:
        """The same submit again is no error; anything else changes nothing."""
        end = self._store.end_of(task_id)
        if end is not None and end[1] == token and end[0] in ("finished", "error"):
            return web.json_response({"msg": "submitted before"})
        raise Refusal(409, f"this attempt is over: {over.why}")

    def _finish(self, work: Work, body: dict[str, Any]) -> None:
        if work.upload is None or body.get("result") != work.upload:
            raise Refusal(409, "the result is not what was uploaded for this attempt; upload it first")
        assert work.lease is not None  # noqa: S101 - it was held a moment ago
        media = work.lease.derived("media") + work.upload[work.upload.index(".") :]
        self._results.add(work.upload, self._clock.time())
        latencies = read_seconds(body, "inference_latency"), read_seconds(body, "upload_latency")
        self._dispatcher.finish(work, media, work.upload, latencies, read_remark(body))

    def _task(self, request: web.Request, work: Work, lease: Lease) -> dict[str, Any]:
        details, inputs = self._store.details(work.task_id), self._store.inputs(work.task_id)
        shown = {
            name: {
                "url": address(request, f"miner_input/{lease.derived(INPUT)}-{number}"),
                "content_type": file["content_type"],
                "size": file["size"],
            }
            for number, (name, file) in enumerate(inputs.items())
            if file is not None
        }
        public = lease.miner in self._dispatcher.miners and self._dispatcher.miners[lease.miner].instance is None
        for name, file in shown.items():
            # A public miner fetches what the parameter says; ours take the bytes from ``inputs``.
            details["parameters"][name] = file["url"] if public else f"{file['content_type']}, {file['size']} bytes"
        left = None if work.deadline is None else max(0.0, work.deadline - self._clock.time())
        return {
            "task_id": work.task_id,
            "task_type": work.workflow.task_type,
            "workflow_id": work.workflow.workflow_id,
            "task_details": details,
            "attempt": lease.attempt,
            "prompt_id": lease.prompt_id,
            "lease": lease.token,
            "lease_seconds": LEASE_SECONDS,
            "seconds_left": left,
            "inputs": shown,
            "credential": {"upload_url": address(request, f"miner_upload/{lease.derived(UPLOAD)}")},
        }


def _is_open(request: web.Request) -> bool:
    """Whether an answer would reach the one who asks."""
    return request.transport is not None and not request.transport.is_closing()
