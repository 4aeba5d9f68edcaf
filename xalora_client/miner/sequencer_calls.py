"""What one miner says to the sequencer."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import APIStatusError, ConfigurationError
from ..protocol.miner import (
    Assignment,
    HeartbeatRequest,
    RegisterRequest,
    SubmitRequest,
    TaskRequest,
    read_seconds,
)
from .sequencer_http import SequencerHTTP

_MOST_NAMES = 100


class SequencerCalls:
    """``name`` is the miner's; it is another one after ``register`` where the one that was asked for is taken.

    Every method raises as ``SequencerHTTP.ask`` does.
    """

    def __init__(self, http: SequencerHTTP, name: str, miner_key: str | None) -> None:
        self.http = http
        self.name = name
        self._wanted = name
        self._key = {} if miner_key is None else {"miner_key": miner_key}
        self._instance = secrets.token_hex(16)
        self._long_poll_seconds = 0.0

    async def register(self, workflows: Sequence[Mapping[str, Any]], software: Mapping[str, str]) -> None:
        """Announce what this miner runs. Raises ConfigurationError when the sequencer does not take it."""
        body = RegisterRequest(self._instance, workflows, software).to_json()
        number = 1
        while True:
            try:
                answer = await self._ask("miner_register", body)
            except APIStatusError as error:
                if error.status_code == 409 and number < _MOST_NAMES:
                    number += 1
                    self.name = f"{self._wanted}-{number}"
                    continue
                raise _explained(error, self.http.shown) from None
            self._long_poll_seconds = read_seconds(answer, "long_poll_seconds") or 0.0
            return

    async def workflows(self) -> dict[str, Any]:
        """The sequencer's own workflow files, by file name; none when it has none."""
        try:
            answer = await self._ask("miner_workflows", {})
        except APIStatusError as error:
            raise _explained(error, self.http.shown) from None
        workflows = answer.get("workflows")
        return workflows if isinstance(workflows, dict) else {}

    async def request(self, workflow_ids: Sequence[str]) -> tuple[Assignment | None, bool]:
        """Ask for a task, for as long as the sequencer likes to wait.

        Returns the task if there is one, and whether to register again.
        """
        seconds = self._long_poll_seconds
        body = TaskRequest(workflow_ids, self._instance, seconds)
        answer = await self._ask("miner_request", body.to_json(), wait_seconds=seconds)
        return (Assignment.from_json(answer) if answer.get("task_id") else None), answer.get("register") is True

    async def heartbeat(
        self, task: Assignment, *, wait_seconds: float = 0, progress: Mapping[str, Any] | None = None
    ) -> str | None:
        """Keep the task. Returns why to stop, or None."""
        body = HeartbeatRequest(task.task_id, task.lease, wait_seconds, progress)
        answer = await self._ask("miner_heartbeat", body.to_json(), wait_seconds=wait_seconds)
        return str(answer["stop"]) if answer.get("stop") else None

    async def submit(self, task: Assignment, **said: Any) -> None:
        """Say how the task ended."""
        await self._ask("miner_submit", SubmitRequest(task.task_id, task.lease, self.name, **said).to_json())

    async def _ask(self, endpoint: str, body: dict[str, Any], *, wait_seconds: float = 0) -> dict[str, Any]:
        return await self.http.ask(endpoint, {"erc20_address": self.name} | self._key | body, wait_seconds=wait_seconds)


def _explained(error: APIStatusError, shown: str) -> Exception:
    if error.status_code in (401, 403):
        return ConfigurationError(
            f"The sequencer at {shown} does not accept this miner: {error.message}",
            advice="Set XALORA_MINER_KEY to the key after its --miner-key.",
        )
    if error.status_code in (404, 405):
        return ConfigurationError(
            f"{shown} is no sequencer that takes miners like this one",
            advice="Check that the address after --sequencer leads to `xalora sequencer`.",
        )
    if error.status_code in (400, 409, 422):
        return ConfigurationError(
            f"The sequencer at {shown} does not accept this miner: {error.message}",
            advice="Choose another --name, and use the same version of xalora on both sides.",
        )
    return error
