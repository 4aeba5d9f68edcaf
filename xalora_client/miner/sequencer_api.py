"""What a miner asks of its sequencer, over HTTP. Nothing here is tried again."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import APIStatusError, ConfigurationError, NetworkError, ResponseError, one_line
from ..http.upload import WebTransport
from ..protocol.answers import check_status
from ..protocol.miner import LARGEST_INPUT, Assignment, Input, left_out_to_json, read_seconds
from ..protocol.parameters import finite, refuse_constant
from ..protocol.requests import Request, Response, pasted
from ..protocol.urls import Link, display_url
from .errors import parse_address

_ANSWER_SECONDS = 30.0
_FETCH_SECONDS = 300.0
_UPLOAD_SILENCE = 120.0
"""How long the sequencer may take to store a result that has arrived."""

_FETCH_SILENCE = 10.0
_LONGEST_PAUSE = 60.0
"""What a sequencer may ask to wait before the next try. It is asked again then, and may say the same."""

_MOST_VALUES = 500_000
"""Values in one answer. A few bytes can become a hundred times as many in memory."""

_SLOWEST_BYTES_PER_SECOND = 20_000
_MOST_NAMES = 100


class SequencerAPI:
    """Requests of one miner. Uses the environment's proxies and certificates, as the clients do.

    ``name`` is the miner's. ``register`` adds a number to it where the name is taken.

    Every method raises NetworkError, APIStatusError, or ResponseError.
    """

    def __init__(self, url: str, name: str, miner_key: str | None) -> None:
        self._link = parse_address(url, "--sequencer", "http://host:8787")
        self.display_url: str = self._link.display_url.rstrip("/")
        self.name: str = name
        self._wanted_name = name
        self._key = {} if miner_key is None else {"miner_key": pasted(miner_key)}
        self._instance = secrets.token_hex(16)
        self._long_poll_seconds = 0.0
        self._transport = WebTransport()
        self._is_reached = False

    async def register(
        self,
        workflows: Sequence[Mapping[str, Any]],
        software: Mapping[str, str],
        left_out: Mapping[tuple[str, str | None], str],
    ) -> None:
        """Report what this miner runs, and why not the rest.

        Raises ConfigurationError when the sequencer does not accept it.
        """
        body = {
            "instance": self._instance,
            "workflows": workflows,
            "software": software,
            "left_out": left_out_to_json(left_out),
        }
        for number in itertools.count(2):
            try:
                answer = await self._ask("miner_register", body)
                break
            except APIStatusError as error:
                if error.status_code != 409 or number > _MOST_NAMES:
                    self._check_accepted(error)
                    raise
            self.name = f"{self._wanted_name}-{number}"
        self._long_poll_seconds = read_seconds(answer, "long_poll_seconds") or 0.0

    async def workflows(self) -> dict[str, Any]:
        """The sequencer's own workflow files, by file name; none when it has none. Raises as ``register`` does."""
        try:
            answer = await self._ask("miner_workflows", {})
        except APIStatusError as error:
            self._check_accepted(error)
            raise
        workflows = {} if answer.get("workflows") is None else answer["workflows"]
        if not isinstance(workflows, dict):
            raise self._not_the_protocol()
        return workflows

    async def request(self, workflow_ids: Sequence[str]) -> tuple[Assignment | None, bool]:
        """Ask for a task, and wait for one as long as the sequencer allows.

        Returns the task if there is one, and whether to register again.
        """
        body = {"workflow_ids": workflow_ids, "instance": self._instance, "wait_seconds": self._long_poll_seconds}
        answer = await self._ask("miner_request", body)
        return (Assignment.from_json(answer) if answer.get("task_id") else None), answer.get("register") is True

    async def report_occupied(self, reason: str, prompt_id: str | None) -> None:
        """Say why this miner does not ask for tasks now, and which prompt may itself wait for one."""
        await self._ask("miner_busy", {"instance": self._instance, "msg": reason, "prompt_id": prompt_id})

    async def heartbeat(
        self, task: Assignment, *, wait_seconds: float = 0, progress: Mapping[str, Any] | None = None
    ) -> str | None:
        """Keep the task. Returns why to stop, or None."""
        body = {"task_id": task.task_id, "lease": task.lease, "wait_seconds": wait_seconds}
        answer = await self._ask("miner_heartbeat", body if progress is None else body | {"progress": progress})
        stop = answer.get("stop")
        return (one_line(stop) if isinstance(stop, str) else "lost") if stop else None

    async def submit(self, task: Assignment, **outcome: Any) -> None:
        """Report how the task ended: fields of the protocol's submit."""
        body = {"task_id": task.task_id, "lease": task.lease, "miner_id": self.name, "success": False, "result": ""}
        await self._ask("miner_submit", body | {"inference_latency": 0, "upload_latency": 0, "msg": ""} | outcome)

    async def fetch(self, file: Input) -> bytes:
        """An input's bytes, at most 128 MiB."""
        request = Request(self._own(file.url), {})
        fetching = self._transport.ask(
            "GET", request.url, largest=LARGEST_INPUT, silence=_FETCH_SILENCE, seconds=_FETCH_SECONDS
        )
        return (await self._answer(fetching, request)).body

    async def upload(self, url: str, file: Path) -> str:
        """Put a result, and return its key. Raises OSError when the file cannot be read, too."""
        request = Request(self._own(url), {})
        seconds = _UPLOAD_SILENCE + (await asyncio.to_thread(file.stat)).st_size / _SLOWEST_BYTES_PER_SECOND
        uploading = self._transport.ask("PUT", request.url, body=file, silence=_UPLOAD_SILENCE, seconds=seconds)
        key = self._object(await self._answer(uploading, request)).get("result")
        if not isinstance(key, str):
            raise self._not_the_protocol()
        return key

    def _own(self, url: str) -> str:
        """The same file at the address that this miner uses: behind a proxy, the sequencer may have another one."""
        try:
            target = Link.parse(url).target
        except ValueError:
            raise ResponseError("The sequencer named an address that cannot be used") from None
        return self._at(target[max(0, target.rfind("/miner_")) :])

    def _at(self, path: str) -> str:
        return replace(self._link, target=self._link.target.partition("?")[0].rstrip("/") + path).text

    async def _ask(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        body = {"erc20_address": self.name} | self._key | body
        request = Request(self._at(f"/{endpoint}"), body, is_ascii=True)  # A file's name need not be Unicode.
        sending = self._transport.send(request, request.wait_seconds + _ANSWER_SECONDS)
        return self._object(await self._answer(sending, request))

    async def _answer(self, sending: Awaitable[Response], request: Request) -> Response:
        try:
            response = await sending
            self._is_reached = True
            check_status(response, request)
        except APIStatusError as error:
            advice = f"It was asked for {_without_token(display_url(request.url))}."
            pause = None if error.retry_after is None else min(error.retry_after, _LONGEST_PAUSE)
            raise error.derived(advice=advice, retry_after=pause) from error
        except (NetworkError, ResponseError) as error:
            # What worked once may work again: a result waits for that.
            transient = error.transient or (self._is_reached and isinstance(error, NetworkError))
            raise error.derived(what=_without_token(error.what), transient=transient) from error
        return response

    def _object(self, response: Response) -> dict[str, Any]:
        value, body = None, response.body
        if sum(body.count(mark) for mark in (b",", b"[", b"{")) <= _MOST_VALUES:
            with suppress(ValueError, RecursionError):
                value = json.loads(body, parse_constant=refuse_constant, parse_float=finite)
        if not isinstance(value, dict):
            raise self._not_the_protocol()
        return value

    def _not_the_protocol(self) -> ResponseError:
        return ResponseError(
            f"{self._link.origin} did not answer as a sequencer does",
            advice="Check that the address after --sequencer leads to `xalora sequencer`.",
        )

    def _check_accepted(self, error: APIStatusError) -> None:
        """Raise ConfigurationError if the error means that the sequencer does not accept this miner."""
        if error.status_code in (404, 405):
            raise ConfigurationError(
                f"{self.display_url} is no sequencer that accepts miners like this one",
                advice="Check that the address after --sequencer leads to `xalora sequencer`.",
            ) from error
        if error.status_code in (400, 401, 403, 409, 422):
            advice = "Choose another --name, and use the same version of xalora on both sides."
            if error.status_code in (401, 403):
                advice = "Set XALORA_MINER_KEY to the key after its --miner-key."
            raise ConfigurationError(
                f"The sequencer at {self.display_url} does not accept this miner: {error.message}", advice=advice
            ) from error


def _without_token(text: str) -> str:
    """The text without the tokens that let anybody fetch an input or upload a result."""
    return re.sub(r"(/miner_(?:input|upload)/)[\w.~-]+", r"\1…", text)
