"""The routes under /xalora: the tasks and the settings, for the editor. JSON in, JSON out, and never a key."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ..xalora_client import APIStatusError, ConfigurationError, NetworkError, NotFoundError, XaloraError
from . import _background, _error_messages, _guard, _host_server, _settings, _task_actions, _task_list

logger = logging.getLogger("xalora_client")

LONGEST_BODY = 20_000

_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

Answer = Callable[[Any], Coroutine[Any, Any, dict[str, Any]]]


async def _tasks(request: Any) -> dict[str, Any]:
    home = await asyncio.to_thread(_settings.home)
    # Before the page is read: what changes meanwhile is told.
    _task_list.watch(home)
    return await asyncio.to_thread(_task_list.page, home, dict(request.query))


def _of_task(action: Callable[..., Coroutine[Any, Any, dict[str, Any]]]) -> Answer:
    async def answer(request: Any) -> dict[str, Any]:
        return await action(await asyncio.to_thread(_settings.home), request.match_info["task_id"])

    return answer


async def _refresh(_: Any) -> dict[str, Any]:
    return await _task_actions.refresh(await asyncio.to_thread(_settings.home))


async def _show_config(_: Any) -> dict[str, Any]:
    return await asyncio.to_thread(_settings.show)


async def _change_config(request: Any) -> dict[str, Any]:
    wanted = request["body"]
    return await asyncio.to_thread(_settings.change, wanted)


async def _test(_: Any) -> dict[str, Any]:
    return await _settings.test()


def register() -> None:
    """Add the routes to ComfyUI's server, where there is one."""
    _host_server.add_routes(
        [
            ("GET", "/xalora/tasks", _json(_tasks)),
            ("GET", "/xalora/tasks/{task_id}", _json(_of_task(_task_actions.show))),
            ("GET", "/xalora/tasks/{task_id}/thumbnail", _thumbnail),
            ("POST", "/xalora/tasks/{task_id}/cancel", _json(_of_task(_task_actions.cancel))),
            ("POST", "/xalora/tasks/{task_id}/collect", _json(_of_task(_task_actions.collect))),
            ("POST", "/xalora/tasks/{task_id}/forget", _json(_of_task(_task_actions.forget))),
            ("POST", "/xalora/refresh", _json(_refresh)),
            ("GET", "/xalora/config", _json(_show_config)),
            ("POST", "/xalora/config", _json(_change_config)),
            ("POST", "/xalora/test", _json(_test)),
        ]
    )


def _json(answer: Answer) -> _host_server.Handler:
    """A route that answers in JSON, also what went wrong: ``{"error": {"type", "what", "advice", "message"}}``."""

    @functools.wraps(answer)
    async def handler(request: Any) -> Any:
        from aiohttp import web

        status, told = 200, dict[str, Any]()
        refused = _guard.refusal(request.method, request.headers)
        try:
            if refused is not None:
                status, told = 403, _error("Refused", refused)
            else:
                request["body"] = await _body(request) if request.method == "POST" else {}
                told = await _background.run(answer(request))
        except XaloraError as error:
            advice, message = _error_messages.advice(error), _error_messages.text(error)
            status, told = _status(error), _error(type(error).__name__, error.what, advice, message)
        except ValueError as error:
            status, told = 400, _error("BadRequest", str(error))
        except Exception:
            logger.exception("Xalora: %s %s failed", request.method, request.path)
            status, told = 500, _error("Error", "Something went wrong", "ComfyUI's log has the details.")
        return web.json_response(told, status=status, headers=_HEADERS)

    return handler


async def _body(request: Any) -> dict[str, Any]:
    """The JSON object that was sent; nothing is as good as an empty one. Raises ValueError."""
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


async def _thumbnail(request: Any) -> Any:
    """A small picture of a task's result. The task is named by its id: no path comes in."""
    from aiohttp import web

    async def make() -> tuple[str, bytes]:
        home = await asyncio.to_thread(_settings.home)
        return await _task_actions.thumbnail(home, request.match_info["task_id"])

    if _guard.refusal(request.method, request.headers) is not None:
        return web.Response(status=403, headers=_HEADERS)
    try:
        name, content = await _background.run(make())
    except XaloraError as error:
        return web.Response(status=_status(error), headers=_HEADERS)
    headers = _HEADERS | {"Cache-Control": "private, max-age=86400, immutable", "ETag": f'"{name}"'}
    return web.Response(body=content, content_type="image/jpeg", headers=headers)


def _status(error: XaloraError) -> int:
    if isinstance(error, NotFoundError):
        return 404
    if isinstance(error, ConfigurationError):
        return 400
    return 502 if isinstance(error, (NetworkError, APIStatusError)) else 500


def _error(kind: str, what: str, advice: str = "", message: str = "") -> dict[str, Any]:
    return {"error": {"type": kind, "what": what, "advice": advice, "message": message or f"{what} {advice}".strip()}}
