"""ComfyUI's web server: routes of ours, and messages to the editors that are open. Without ComfyUI there is none."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

try:
    from server import PromptServer
except ModuleNotFoundError as error:
    if error.name != "server":
        raise
    PromptServer = None  # type: ignore[assignment, misc]

logger = logging.getLogger("xalora_client")

Handler = Callable[[Any], Awaitable[Any]]


def add_routes(routes: list[tuple[str, str, Handler]]) -> None:
    """Add routes, each a method, a path and what answers it. Must run before ComfyUI's server starts.

    Does nothing where no server is set up, and when they are there already: aiohttp refuses to start with a route
    that is there twice, as when the pack lies in two folders.
    """
    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    paths = {getattr(each, "path", None) for each in server.routes}
    if any(path in paths for _, path, _ in routes):
        logger.warning("Xalora is installed twice: remove one of its folders from custom_nodes")
        return
    for method, path, handler in routes:
        server.routes.route(method, path)(handler)


def send(event: str, data: dict[str, Any]) -> None:
    """Send a message to every editor that is open, from any thread."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_sync(event, data)


def send_to_client(event: str, data: dict[str, Any]) -> None:
    """Send a message to the editor that queued the running prompt. Pages of other sites may listen as well."""
    server = getattr(PromptServer, "instance", None)
    if server is not None and server.client_id is not None:  # To ComfyUI, no client means all.
        server.send_sync(event, data, server.client_id)


def editors() -> int:
    """How many editors are open."""
    server = getattr(PromptServer, "instance", None)
    return len(server.sockets) if server is not None else 0
