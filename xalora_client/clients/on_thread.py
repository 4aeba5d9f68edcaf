"""The blocking transport: each call runs the asynchronous transport on an event loop in its own thread.

So it also works in a thread that runs an event loop itself, as in a notebook, and in a forked process. Ctrl-C
interrupts a call at once, and nothing stays open between calls.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Any, Generic

from ..engine.effects import T
from ..http.transport import Fetch, HttpTransport
from ..protocol.requests import Request, Response

BETWEEN_LOOKS = 0.5
"""Seconds of one wait. Windows delivers Ctrl-C only between waits."""

SECONDS_TO_STOP = 2.0
"""How long an interruption waits for the call to end."""


class ThreadTransport:
    """Blocks until the other transport is done. May be used from any thread; a fetch's sink runs in the calling one."""

    def __init__(self, transport: HttpTransport) -> None:
        self._transport = transport

    def send(self, request: Request, timeout: float) -> Response:
        """POST the request."""
        return _Call(lambda _: self._transport.send(request, timeout)).wait()

    def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink."""

        def begin(call: _Call[Response]) -> Coroutine[Any, Any, Response]:
            def sink(status: int, headers: Mapping[str, str]) -> Callable[[bytes], object] | None:
                take = call.ask(lambda: fetch.sink(status, headers))
                return None if take is None else lambda piece: call.ask(lambda: take(piece))

            return self._transport.fetch(replace(fetch, sink=sink))

        return _Call(begin).wait()

    def close(self) -> None:
        """Nothing is held between calls."""


def await_on_thread(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await ``start()`` on an event loop in a thread. An interruption of this thread cancels it."""
    return _Call(lambda _: start()).wait()


class _GoneError(Exception):
    """The caller no longer waits for the call."""


class _Call(Generic[T]):
    """One call on a loop in a thread. It may ask the waiting thread to run a function."""

    def __init__(self, begin: Callable[[_Call[T]], Coroutine[Any, Any, T]]) -> None:
        self._begin = begin
        self._questions: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[bool, Any]] = SimpleQueue()
        self._lock = threading.Lock()
        self._stopped = False
        self._cancel: Callable[[], object] | None = None
        self._result: T
        self._error: BaseException | None = None

    def wait(self) -> T:
        """Run the call and answer its questions. An interruption of this thread cancels it."""
        thread = threading.Thread(target=self._work, name="xalora-call", daemon=True)
        try:
            thread.start()
            while (question := self._next()) is not None:
                self._answers.put((True, question()))
        except BaseException:
            self._stop()
            with suppress(RuntimeError):  # It was not even started.
                thread.join(SECONDS_TO_STOP)
            raise
        thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # Else it would hold on to itself, and to what it knows of the answer.
        return self._result

    def ask(self, question: Callable[[], Any]) -> Any:
        """From within the call: have the waiting thread run a function. What it raises also ends the wait."""
        self._questions.put(question)
        answered, value = self._answers.get()
        if not answered:
            raise _GoneError
        return value

    def _next(self) -> Callable[[], object] | None:
        while True:
            with suppress(Empty):
                return self._questions.get(timeout=BETWEEN_LOOKS)

    def _work(self) -> None:
        try:
            self._result = asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread
            self._error = error
        self._questions.put(None)

    async def _main(self) -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        with self._lock:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            if self._stopped:
                raise _GoneError
        return await self._begin(self)

    def _stop(self) -> None:
        self._answers.put((False, None))
        with self._lock:
            self._stopped = True
            cancel = self._cancel
        if cancel is not None:
            with suppress(RuntimeError):  # The loop has ended by itself.
                cancel()
