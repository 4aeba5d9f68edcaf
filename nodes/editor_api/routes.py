"""The routes under /xalora for the editor: the tasks, what there is to run, the settings. JSON, and never a key."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from ...xalora_client import APIStatusError, ConfigurationError, NetworkError, NotFoundError, XaloraError
from .. import comfy
from ..comfy.users import user_of
from ..error_messages import for_extension
from . import same_origin, settings, tasks

logger = logging.getLogger("xalora_client")

LONGEST_BODY = 20_000

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

Action = Callable[[Any], Coroutine[Any, Any, Any]]
"""Takes aiohttp's request; returns a JSON object or aiohttp's response. Runs on the event loop of the routes."""


def register() -> None:
    """Add the routes to ComfyUI's server, where there is one."""
    comfy.add_routes(
        [
            ("GET", "/xalora/tasks", _route(_page)),
            ("GET", "/xalora/tasks/{task_id}", _route(_of_task(tasks.show))),
            ("GET", "/xalora/tasks/{task_id}/thumbnail", _route(_thumbnail)),
            ("POST", "/xalora/tasks/{task_id}/cancel", _route(_of_task(tasks.cancel))),
            ("POST", "/xalora/tasks/{task_id}/collect", _route(_of_task(tasks.collect))),
            ("POST", "/xalora/tasks/{task_id}/forget", _route(_of_task(tasks.forget))),
            ("POST", "/xalora/refresh", _route(lambda _: tasks.refresh(settings.home()))),
            ("GET", "/xalora/workflows", _route(lambda _: settings.workflows())),
            ("GET", "/xalora/config", _route(lambda _: settings.show())),
            ("POST", "/xalora/config", _route(lambda request: settings.change(request["body"]))),
            ("POST", "/xalora/test", _route(lambda _: settings.test())),
        ]
    )


async def _page(request: Any) -> dict[str, Any]:
    home = settings.home()
    # Before the page is read, so that no change after it is missed.
    tasks.watch(home)
    return await asyncio.to_thread(tasks.page, home, dict(request.query), user_of(request))


def _of_task(action: Callable[[Path, str], Coroutine[Any, Any, dict[str, Any]]]) -> Action:
    return lambda request: action(settings.home(), request.match_info["task_id"])


async def _thumbnail(request: Any) -> Any:
    """A small picture of a task's result. The task is named by its id: no path comes in."""
    from aiohttp import web

    try:
        name, content = await tasks.thumbnail(settings.home(), request.match_info["task_id"])
    except XaloraError as error:
        return web.Response(status=_status(error), headers=_HEADERS)
    headers = _HEADERS | {"Cache-Control": "private, max-age=86400, immutable", "ETag": f'"{name}"'}
    return web.Response(body=content, content_type="image/jpeg", headers=headers)


def _route(action: Action) -> comfy.Handler:
    """A route that answers in JSON, also what went wrong: ``{"error": {"type", "what", "advice", "message", …}}``."""

    async def handler(request: Any) -> Any:
        from aiohttp import web

        async def run() -> Any:
            return await action(request)

        problem = same_origin.problem(request.method, request.headers)
        try:
            if problem is not None:
                status, answer = 403, _error("Refused", problem)
            else:
                request["body"] = await _body(request) if request.method == "POST" else {}
                # The shield: what was begun continues when the browser is gone.
                answer = await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(run(), _loop())))
                status = 200
        except XaloraError as error:
            status, answer = _status(error), {"error": for_extension(error)}
        except ValueError as error:
            status, answer = 400, _error("BadRequest", str(error))
        except Exception:
            logger.exception("Xalora: %s %s failed", request.method, request.path)
            status, answer = 500, _error("Error", "Something went wrong", "ComfyUI's log has the details.")
        if isinstance(answer, web.Response):
            return answer
        return web.json_response(answer, status=status, headers=_HEADERS)

    return handler


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """An event loop in a thread. ComfyUI's own must not wait for disks and networks."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="xalora-routes", daemon=True).start()
    return loop


async def _body(request: Any) -> dict[str, Any]:
    """The JSON object that was sent; an empty body counts as an empty one. Raises ValueError."""
    content = await request.content.read(LONGEST_BODY + 1)
    while len(content) <= LONGEST_BODY and (more := await request.content.read(LONGEST_BODY)):
        content += more
    if len(content) > LONGEST_BODY:
        raise ValueError("The request is too long")
    try:
        body = json.loads(content or "{}")
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ValueError("The request is not a JSON object")
    return body


def _status(error: XaloraError) -> int:
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ConfigurationError):
        return 400
    return 502 if isinstance(error, (NetworkError, APIStatusError)) else 500


def _error(kind: str, what: str, advice: str = "") -> dict[str, Any]:
    return {"error": {"type": kind, "what": what, "advice": advice, "message": f"{what} {advice}".strip()}}
