"""How many requests a process sends to one server at once, whichever clients, threads and event loops they are from."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager

AT_ONCE = 16
"""Requests that one server is sent at the same time."""

ORDINARY_AT_ONCE = 12
"""How many of them may be other than urgent: a cancel must not wait behind creates that nobody answers."""


class Gate:
    """Lets requests to one server through, in their order, the urgent ones first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._urgent: deque[Future[None]] = deque()
        self._ordinary: deque[Future[None]] = deque()

    @asynccontextmanager
    async def passed(self, *, urgent: bool = False) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        place: Future[None] = Future()
        with self._lock:
            (self._urgent if urgent else self._ordinary).append(place)
            self._let_in()
        try:
            if not place.done():
                await asyncio.wrap_future(place)
            yield
        finally:
            with self._lock:
                if not place.cancel() and not place.cancelled():  # It was given its place, maybe unseen.
                    self._inside -= 1
                self._let_in()

    def _let_in(self) -> None:
        for queue, places in ((self._urgent, AT_ONCE), (self._ordinary, ORDINARY_AT_ONCE)):
            while queue and self._inside < places:
                place = queue.popleft()
                if place.set_running_or_notify_cancel():
                    self._inside += 1
                    place.set_result(None)


_gates: dict[str, Gate] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_gates.clear)  # Who holds a place there is not in the child.


def gate_of(origin: str) -> Gate:
    """The process's one gate before that server."""
    return _gates.setdefault(origin, Gate())
