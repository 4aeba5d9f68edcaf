"""The endpoints for those who create tasks."""

from __future__ import annotations

import time
from typing import Any

from aiohttp import web

from ..errors import InvalidParameterError
from .catalog import Catalog
from .clock import Clock
from .dispatcher import Dispatcher
from .fetching import ImageError, check_image_host
from .http import LONG_POLL_SECONDS, Keys, Refusal, address, read_body, read_text, read_wait
from .inputs import Inputs
from .kinds import shortened
from .observer import Observer
from .own_addresses import image_token_in
from .progress import shown_progress
from .store import NewTask, Store
from .work import Work, Workflow

_NOBODY = "; no miner that runs this with these values is connected at the moment; start one with `xalora miner`"


class ConsumerRoutes:
    """Create, query, cancel, and asking for a miner. ``place`` names this server in messages."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        inputs: Inputs,
        catalog: Catalog,
        keys: Keys,
        clock: Clock,
        observer: Observer,
        *,
        place: str,
        local: bool,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._inputs = inputs
        self._catalog = catalog
        self._keys = keys
        self._clock = clock
        self._observer = observer
        self._place = place
        self._local = local

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [
            web.post("/task_create", self.task_create),
            web.post("/task_result_query", self.task_result_query),
            web.post("/task_cancel", self.task_cancel),
            web.post("/resource_request", self.resource_request),
        ]

    async def task_create(self, request: web.Request) -> web.StreamResponse:
        """Queue a task: ``{"task_id", "msg", "revision", "long_poll_seconds"}``.

        For a job id that the same consumer used before with the same key, the answer is the existing task, and no new
        one is created. This is our own addition: no other sequencer is known to promise it.
        """
        body = await read_body(request)
        consumer_id, api_key = self._keys.consumer_and_key(body)
        job_id = read_text(body, "job_id")
        owner = self._store.owner(api_key)
        task_id = self._store.find_job(owner, consumer_id, job_id)
        msg = "this job_id was submitted before"
        if task_id is None:
            work = self._create(request, body, owner, consumer_id, job_id)
            task_id = work.task_id
            msg = f"queued in the {self._place}{'' if self._catalog.is_anybody_here_for(work) else _NOBODY}"
            self._dispatcher.add(work)
            self._inputs.bring(work)
        return web.json_response(
            {"task_id": task_id, "msg": msg, "revision": 0, "long_poll_seconds": LONG_POLL_SECONDS}
        )

    async def task_result_query(self, request: web.Request) -> web.StreamResponse:
        """Answer with a task's state. Fields without a value (yet) are left out.

        With ``wait_seconds`` and ``after``, the last revision seen, it waits for the next change, at most so long.
        """
        begun = time.perf_counter()
        body = await read_body(request)
        task = self._task(body)
        seconds, after = read_wait(body), body.get("after")
        after = after if isinstance(after, int) and not isinstance(after, bool) else -1
        waited = 0.0
        if seconds:
            waiting = time.perf_counter()
            await self._dispatcher.watch(task["task_id"], after, seconds)
            waited = time.perf_counter() - waiting
            task = self._task(body)
        answer = web.json_response(self._answer(request, task, after))
        self._observer.query_answered(time.perf_counter() - begun - waited)
        return answer

    async def task_cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel a task: ``{"task_id", "msg"}``. If it has already ended, the msg says so."""
        task = self._task(await read_body(request))
        canceled = self._dispatcher.cancel(task["task_id"])
        msg = "canceled" if canceled else f"nothing to cancel: the task was already {task['status']}"
        return web.json_response({"task_id": task["task_id"], "msg": msg})

    async def resource_request(self, request: web.Request) -> web.StreamResponse:
        """Name a miner that would take such a task: ``{"miner_id"}``."""
        body = await read_body(request)
        self._keys.consumer_and_key(body)
        return web.json_response({"miner_id": self._catalog.miner_for(body.get("task_type"), body.get("workflow_id"))})

    def _create(self, request: web.Request, body: dict[str, Any], owner: bytes, consumer_id: str, job_id: str) -> Work:
        accepted = self._catalog.check(
            body.get("task_type"),
            body.get("task_details"),
            workflow_id=body.get("workflow_id"),
            timeout_seconds=body.get("timeout_seconds"),
        )
        task = accepted.task
        details: dict[str, Any] = dict(task.task_details)
        for name in accepted.images:
            self._check_image(request, name, details["parameters"][name], owner)
        new = NewTask(
            workflow=Workflow(task.task_type, task.workflow_id),
            shown=shortened(details),
            work=details,
            images=accepted.images,
            timeout_seconds=task.timeout_seconds or None,
            consumer_id=consumer_id,
            job_id=job_id,
        )
        work = self._store.create(new, owner, self._clock.time())
        work.checked.update(accepted.checked)
        return work

    def _check_image(self, request: web.Request, name: str, value: str, owner: bytes) -> None:
        """Refuse at once what could not be fetched in any case."""
        if self._inputs.holds(value, owner):
            return
        if image_token_in(value) is not None and value.startswith(address(request, "images/")):
            raise InvalidParameterError(name, "an address of an image that is not here", "one uploaded within a day")
        try:
            check_image_host(value, local=self._local)
        except ImageError as error:
            raise Refusal(400, str(error)) from None

    def _answer(self, request: web.Request, task: dict[str, Any], after: int) -> dict[str, Any]:
        media = task.pop("media")
        if media is not None:
            task["result"] = address(request, f"media/{media}")
        work = self._dispatcher.find(task["task_id"])
        if work is not None:
            task["revision"] = work.revision
            task["progress"] = shown_progress(work, after)
        task["long_poll_seconds"] = LONG_POLL_SECONDS
        return {name: value for name, value in task.items() if value is not None}

    def _task(self, body: dict[str, Any]) -> dict[str, Any]:
        api_key = self._keys.key(body)
        task = self._store.find(read_text(body, "task_id"), self._store.owner(api_key))
        if task is None:
            raise Refusal(404, "there is no such task")
        return task
