"""The endpoints for the bytes of a task: its inputs, and the upload of its result."""

from __future__ import annotations

from aiohttp import web

from ..media.decoding.formats import describe, sniff
from ..protocol.miner import LARGEST_RESULT
from .clock import Clock
from .dispatcher import Dispatcher, LeaseOver
from .file_store import Incoming, Received, keep
from .http import Refusal, full_disk
from .inputs import Inputs
from .results import Results
from .store import Store
from .tokens import INPUT, UPLOAD
from .work import Work


class MinerFiles:
    """Each address has a token that belongs to one attempt, so it needs no key."""

    def __init__(
        self, store: Store, dispatcher: Dispatcher, inputs: Inputs, results: Results, incoming: Incoming, clock: Clock
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._inputs = inputs
        self._results = results
        self._incoming = incoming
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """The routes for the application."""
        return [
            web.get(r"/miner_input/{token:[0-9a-f]{64}}-{number:[0-9]{1,3}}", self.input),
            web.put("/miner_upload/{token}", self.upload),
        ]

    async def input(self, request: web.Request) -> web.StreamResponse:
        """Send the bytes of an input."""
        found = self._dispatcher.tokens.find(request.match_info["token"], INPUT)
        if found is None:
            raise Refusal(404, "this attempt is over, or there never was one with this address")
        files = list(self._store.inputs(found[0].task_id).values())
        number = int(request.match_info["number"])
        if number >= len(files):
            raise Refusal(404, "the task has no such input")
        headers = {"Content-Type": files[number]["content_type"], "X-Content-Type-Options": "nosniff"}
        return web.FileResponse(self._inputs.folder / files[number]["file"], headers=headers)

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """Take the raw bytes of a result: ``{"result"}`` is what to submit."""
        token = request.match_info["token"]
        work = self._held(token)
        received = await self._incoming.receive(request.content, LARGEST_RESULT)
        try:
            work = self._held(token)  # The lease may have ended meanwhile.
            file = await self._keep(work, received)
        except OSError as error:
            raise full_disk(error) from error
        finally:
            received.discard()
        return web.json_response({"result": file})

    def _held(self, token: str) -> Work:
        found = self._dispatcher.tokens.find(token, UPLOAD)
        if found is None:
            raise Refusal(409, "this attempt is over, or there never was one with this address")
        try:
            return self._dispatcher.hold(found[0].task_id, found[1].token)
        except LeaseOver as over:
            raise Refusal(409, f"this attempt is over: {over.why}") from None

    async def _keep(self, work: Work, received: Received) -> str:
        found = sniff(received.head)
        if found is None:
            raise Refusal(415, f"this is not a picture or video: {describe(received.head).partition(':')[0]}")
        file = received.sha256 + found.extension
        if work.upload is not None and work.upload != file:
            raise Refusal(409, "other bytes were uploaded for this attempt before")
        await keep(received, self._results.folder / file)
        self._results.add(file, self._clock.time())
        self._dispatcher.set_upload(work, file)
        return file
