"""ComfyUI, as far as the nodes need it. Only this folder imports it. Here: its server and its folder for keys.

Without ComfyUI the nodes still run. There is no server, no Cancel and no progress display, and a VIDEO is a plain file
or its frames.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

try:
    from server import PromptServer

    IN_COMFYUI = True
except ModuleNotFoundError as error:
    if error.name != "server":
        raise
    IN_COMFYUI = False

logger = logging.getLogger("xalora_client")

Handler = Callable[[Any], Awaitable[Any]]


def _server() -> PromptServer | None:
    """ComfyUI's server. A program that only imports ComfyUI has none."""
    return getattr(PromptServer, "instance", None) if IN_COMFYUI else None


def add_routes(routes: list[tuple[str, str, Handler]]) -> None:
    """Add routes, given as method, path and handler. Must run before ComfyUI's server starts.

    Does nothing without a server, and when the routes exist already: aiohttp refuses to start with a route that is
    there twice, as when the pack is in two folders.
    """
    server = _server()
    if server is None:
        return
    paths = {getattr(route, "path", None) for route in server.routes}
    if any(path in paths for _, path, _ in routes):
        logger.warning("Xalora is installed twice: remove one of its folders from custom_nodes")
        return
    for method, path, handler in routes:
        server.routes.route(method, path)(handler)


def at_start(action: Callable[[], object]) -> None:
    """Call this in a thread when ComfyUI's server starts."""
    if server := _server():
        server.app.on_startup.append(lambda _: asyncio.to_thread(action))


def at_prompt(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Have this change the request of each prompt, after other packs have."""
    if server := _server():
        server.app.on_startup.append(lambda app: asyncio.to_thread(server.add_on_prompt_handler, change))


def before_each_request(note: Callable[[Any], object]) -> None:
    """Call this with each request to ComfyUI, where it is answered. Must run before ComfyUI's server starts."""
    if server := _server():
        from aiohttp import web

        @web.middleware
        async def noting(request: web.Request, handler: Handler) -> Any:
            note(request)
            return await handler(request)

        server.app.middlewares.append(noting)


def send(event: str, data: dict[str, Any]) -> None:
    """Send a message to every open editor, from any thread."""
    if server := _server():
        server.send_sync(event, data)


def send_to_client(event: str, data: dict[str, Any]) -> None:
    """Send a message to the editor that queued the running prompt. Pages of other sites may listen as well."""
    server = _server()
    if server and server.client_id is not None:  # To ComfyUI, no client means all.
        server.send_sync(event, data, server.client_id)


def is_editor_open() -> bool:
    """Whether any editor is open."""
    server = _server()
    return bool(server and server.sockets)


def home() -> Path | None:
    """A folder that ComfyUI keeps and does not serve over HTTP, or None if this version has none."""
    try:
        from folder_paths import get_system_user_directory
    except ImportError:
        return None
    return Path(get_system_user_directory("xalora"))
