"""The sequencer's routes over a store and its workers."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from ..errors import InvalidParameterError
from ..protocol.parameters import Text
from ..protocol.requests import Credentials
from .kinds import build_task, check_task_type
from .task_store import TaskStore
from .workers import Workers

logger = logging.getLogger(__name__)
_MAX_BODY = 128 * 2**20
_CONTENT_TYPES = {".mp4": "video/mp4", ".webp": "image/webp", ".png": "image/png", ".jpg": "image/jpeg"}
_TEXT = Text("")
_LOGGED_CHARACTERS = 200

_NOTED: Any = web.RequestKey("noted", dict[str, str]) if hasattr(web, "RequestKey") else "noted"
"""The key under which a request carries its ids, for the table of requests."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Refusal(Exception):  # noqa: N818 - an answer, not a failure of this program
    """Answer with this status and ``{"message": ...}``."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Routes:
    """The endpoints. ``required`` are the only accepted credentials; None accepts all."""

    def __init__(self, store: TaskStore, workers: Workers, *, instance: str, required: Credentials | None) -> None:
        self._store = store
        self._workers = workers
        self._instance = instance
        self._required = required

    def app(self) -> web.Application:
        """Return the application. Bodies of up to 128 MiB are accepted: a 4K image fits in a ``data:`` URI."""
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[self._note_request, _answer_in_json])
        app.add_routes(
            [
                web.get("/", self.about),
                web.get("/media/{name}", self.media),
                web.post("/task_create", self.task_create),
                web.post("/task_result_query", self.task_result_query),
                web.post("/task_cancel", self.task_cancel),
                web.post("/resource_request", self.resource_request),
            ]
        )
        return app

    async def about(self, request: web.Request) -> web.StreamResponse:
        """Identify this server. ``instance`` differs at each start."""
        return web.json_response({"service": "Xalora sandbox", "instance": self._instance})

    async def media(self, request: web.Request) -> web.StreamResponse:
        """Send a result, whole or the requested range."""
        path = self._workers.media / request.match_info["name"]
        request[_NOTED]["task_id"] = path.stem[:_LOGGED_CHARACTERS]
        # A decoded name may contain slashes and dots; only files directly in this folder are sent.
        if path.parent != self._workers.media or path.suffix not in _CONTENT_TYPES or not path.is_file():
            raise Refusal(404, "there is no such media")
        return web.FileResponse(path, headers={"Content-Type": _CONTENT_TYPES[path.suffix]})

    async def task_create(self, request: web.Request) -> web.StreamResponse:
        """Queue a task: ``{"task_id", "msg"}``.

        For a job id that the same consumer used before with the same key, the answer is the existing task, and no new
        one is created. This is the sandbox's own assumption: no real sequencer is known to promise it.
        """
        body = await _body(request)
        consumer_id, api_key = self._consumer_and_key(body)
        job_id = _text(body, "job_id")
        task = build_task(
            body.get("task_type"),
            body.get("task_details"),
            workflow_id=body.get("workflow_id"),
            timeout_seconds=body.get("timeout_seconds"),
        )
        task_id, new = self._store.create(task, consumer_id=consumer_id, api_key=api_key, job_id=job_id)
        request[_NOTED]["task_id"] = task_id
        if new:
            self._workers.submit(task_id)
        msg = "queued in the sandbox" if new else "this job_id was submitted before"
        return web.json_response({"task_id": task_id, "msg": msg})

    async def task_result_query(self, request: web.Request) -> web.StreamResponse:
        """Answer with a task's state. Fields without a value (yet) are left out."""
        task = self._task(await _body(request))
        media = task.pop("media")
        if media is not None:
            task["result"] = f"{request.scheme}://{request.host}/media/{media}"
        return web.json_response({name: value for name, value in task.items() if value is not None})

    async def task_cancel(self, request: web.Request) -> web.StreamResponse:
        """Cancel a task: ``{"task_id", "msg"}``. If it has already ended, the msg says so."""
        task = self._task(await _body(request))
        canceled = self._workers.stop(task["task_id"], "canceled", "canceled on request")
        msg = "canceled" if canceled else f"nothing to cancel: the task was already {task['status']}"
        return web.json_response({"task_id": task["task_id"], "msg": msg})

    async def resource_request(self, request: web.Request) -> web.StreamResponse:
        """Name the miner that would take such a task: ``{"miner_id"}``."""
        body = await _body(request)
        self._consumer_and_key(body)
        if body.get("task_type") is not None:
            check_task_type(body["task_type"])
        return web.json_response({"miner_id": "sandbox"})

    def _consumer_and_key(self, body: dict[str, Any]) -> tuple[str, str]:
        consumer_id, api_key = body.get("consumer_id"), self._key(body)
        if not (isinstance(consumer_id, str) and _TEXT.accepts(consumer_id)):
            raise Refusal(401, "consumer_id is missing")
        if self._required is not None and not _same(consumer_id, self._required.consumer_id):
            raise Refusal(401, "this consumer_id and api_key are not known here")
        return consumer_id, api_key

    def _key(self, body: dict[str, Any]) -> str:
        api_key = body.get("api_key")
        if not (isinstance(api_key, str) and _TEXT.accepts(api_key)):
            raise Refusal(401, "api_key is missing")
        if self._required is not None and not _same(api_key, self._required.api_key):
            raise Refusal(401, "this api_key is not known here")
        return api_key

    def _task(self, body: dict[str, Any]) -> dict[str, Any]:
        api_key = self._key(body)
        task = self._store.find(_text(body, "task_id"), api_key)
        if task is None:
            raise Refusal(404, "there is no such task")
        return task

    @web.middleware
    async def _note_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        noted: dict[str, str] = {}
        request[_NOTED] = noted
        answer = await handler(request)
        endpoint = request.path.strip("/")[:_LOGGED_CHARACTERS]
        if request.method == "POST" or endpoint.startswith("media/"):
            self._store.log_request(endpoint, noted.get("job_id"), noted.get("task_id"), answer.status)
        return answer


@web.middleware
async def _answer_in_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every refusal into its status with ``{"message": ...}``."""
    try:
        return await handler(request)
    except Refusal as refusal:
        status, message = refusal.status, str(refusal)
    except InvalidParameterError as error:
        status, message = 400, str(error)
    except web.HTTPException as error:
        status, message = error.status, error.reason
    except Exception:
        logger.exception("%s could not be answered", request.path)
        status, message = 500, "the sandbox failed"
    return web.json_response({"message": message}, status=status)


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except (ValueError, LookupError, RecursionError):
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the body is not a JSON object")
    for name in ("job_id", "task_id"):
        if _TEXT.accepts(body.get(name)):
            request[_NOTED][name] = body[name][:_LOGGED_CHARACTERS]
    return body


def _text(body: dict[str, Any], name: str) -> str:
    _TEXT.check(name, body.get(name))
    return str(body[name])


def _same(given: str, required: str) -> bool:
    return hmac.compare_digest(given.encode(), required.encode())
