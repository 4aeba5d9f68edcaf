"""A sequencer on a simulated clock, for the client's own waits."""

from __future__ import annotations

import json
from dataclasses import dataclass

from xalora_client.http.transport import Fetch
from xalora_client.protocol.requests import Request, Response

ROUND_TRIP = 0.2
"""Seconds from a request to its answer."""


@dataclass
class Server:
    """A clock that only requests and sleeps move, and one task that is finished ``duration`` after its creation.

    Unless it is created later, that is at 0. ``open_at`` is when an answer last said that it was still running.
    """

    duration: float
    now: float = 0.0
    created: float = 0.0
    open_at: float = 0.0
    queries: int = 0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def query(self) -> bool:
        """Whether the task was finished when the request arrived, half a round trip after it was sent."""
        self.queries += 1
        finished = self.now + ROUND_TRIP / 2 >= self.created + self.duration
        self.now += ROUND_TRIP
        if not finished:
            self.open_at = self.now
        return finished

    def create(self) -> None:
        self.created = self.now + ROUND_TRIP / 2
        self.now += ROUND_TRIP

    def delay(self) -> float:
        """Seconds from the task's end to now."""
        return self.now - self.created - self.duration

    async def send(self, request: Request, timeout: float) -> Response:
        """The transport's side."""
        if request.url.endswith("/task_create"):
            self.create()
            answer = {"task_id": "t1"}
        else:
            answer = {"task_id": "t1", "status": "finished" if self.query() else "running"}
        return Response(200, {}, json.dumps(answer).encode(), self.now)

    async def fetch(self, fetch: Fetch) -> Response:
        raise AssertionError("nothing is downloaded here")

    async def close(self) -> None:
        """There are no connections."""
