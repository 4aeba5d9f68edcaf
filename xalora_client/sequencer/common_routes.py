"""The endpoints that need no key: who this is, and the media of results."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from ..version import __version__
from .http import Refusal
from .results import Results
from .store import Store

_CONTENT_TYPES = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".avif": "image/avif",
}


class CommonRoutes:
    """``service`` is what this server calls itself; ``instance`` differs at each start; ``page`` is for browsers."""

    def __init__(
        self, store: Store, results: Results, *, service: str, instance: str, page: Callable[[], str] | None
    ) -> None:
        self._store = store
        self._results = results
        self._about = {"service": service, "instance": instance, "version": __version__, "image_upload": True}
        self._page = page

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [web.get("/", self.about), web.get("/media/{name}", self.media)]

    async def about(self, request: web.Request) -> web.StreamResponse:
        """Identify this server; browsers get a page."""
        if self._page is not None and "text/html" in request.headers.get("Accept", ""):
            return web.Response(text=self._page(), content_type="text/html", headers=_NOT_STORED)
        return web.json_response(self._about)

    async def media(self, request: web.Request) -> web.StreamResponse:
        """Send a result, whole or the requested range."""
        name = request.match_info["name"]
        # The name is only looked up. What is opened is the name that this server chose.
        file = self._store.file_of(name) if name.isprintable() else None
        if file is None:
            raise Refusal(404, "there is no such media")
        path = self._results.folder / file
        content_type = _CONTENT_TYPES.get(path.suffix)
        if content_type is None or not path.is_file():
            raise Refusal(410, "this media was removed to make room for newer results")
        headers = {"Content-Type": content_type, "X-Content-Type-Options": "nosniff"}
        return web.FileResponse(path, headers=headers)


_NOT_STORED = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}
