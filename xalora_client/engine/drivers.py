"""The two drivers: one performs a flow's effects by blocking, the other on an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from ..http.transport import Fetch
from ..protocol.requests import Request, Response
from .effects import Await, Call, Effect, Flow, Send, Sleep

T = TypeVar("T")

SETTLE_SECONDS = 20.0
"""How long an interruption waits for an outcome that must not be lost."""


class Transport(Protocol):
    """How a blocking client reaches servers."""

    def send(self, request: Request, timeout: float) -> Response:
        """POST a request. Redirects are not followed.

        Args:
            request: The request.
            timeout: Seconds for the whole exchange.

        Returns:
            The answer, whatever its status.

        Raises:
            NetworkError: No complete answer came back.
        """

    def fetch(self, fetch: Fetch) -> Response:
        """GET a file into its sink. Redirects are not followed.

        Args:
            fetch: What to get.

        Returns:
            The answer, with an empty body where the sink took it.

        Raises:
            NetworkError: No complete answer came back.
            DownloadError: The address may not be contacted, or never can be.
        """

    def close(self) -> None:
        """Close the connections."""


class AsyncTransport(Protocol):
    """How an asynchronous client reaches servers."""

    async def send(self, request: Request, timeout: float) -> Response:
        """As Transport.send, awaited."""

    async def fetch(self, fetch: Fetch) -> Response:
        """As Transport.fetch, awaited."""

    async def close(self) -> None:
        """As Transport.close, awaited."""


class _Steps(Generic[T]):
    """A flow, step by step: ``effect`` is what to do next, ``done`` says that ``result`` is there.

    An interruption that was held back while something settled replaces the flow's next effect, or its end. Calls are
    still made first, because they record what was settled.
    """

    def __init__(self, flow: Flow[T]) -> None:
        self.flow = flow
        self.done = False
        self.effect: Effect
        self.result: T
        self.held: BaseException | None = None
        self._step(lambda: flow.send(None))

    def succeed(self, value: Any) -> None:
        """Resume the flow with the result of its effect."""
        self._step(lambda: self.flow.send(value))

    def fail(self, error: BaseException) -> None:
        """Throw into the flow what its effect raised."""
        self._step(lambda: self.flow.throw(error))

    def _step(self, resume: Callable[[], Effect]) -> None:
        try:
            self.effect = resume()
        except StopIteration as end:
            self.done, self.result = True, end.value
            if self.held is not None:
                raise self.held from None
        except BaseException as error:
            if self.held is not None and error is not self.held:
                raise self.held from error
            raise
        else:
            if self.held is not None and not isinstance(self.effect, Call):
                stop, self.held = self.held, None
                self.fail(stop)


Finish = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


def _finish(start: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(start())


def run_sync(
    flow: Flow[T],
    transport: Transport,
    sleep: Callable[[float], object] = time.sleep,
    finish: Finish = _finish,
) -> T:
    """Run the flow, blocking, and return its result. ``finish(start)`` awaits ``start()`` on a loop of its own."""
    steps = _Steps(flow)
    while not steps.done:
        try:
            value = _perform(steps, transport, sleep, finish)
        except BaseException as error:  # noqa: BLE001 - the flow decides what each means
            steps.fail(error)
        else:
            steps.succeed(value)
    return steps.result


def _perform(steps: _Steps[Any], transport: Transport, sleep: Callable[[float], object], finish: Finish) -> Any:
    match steps.effect:
        case Send(request, timeout, settle=False):
            return transport.send(request, timeout)
        case Send(request, timeout):
            return _settle(steps, lambda: transport.send(request, timeout))
        case Sleep(seconds):
            return sleep(seconds)
        case Fetch() as fetch:
            return transport.fetch(fetch)
        case Call(function):
            return _settle(steps, function)
        case Await(start, settle=False):
            return finish(start)
        case Await(start):
            return _settle(steps, lambda: finish(start))


def _settle(steps: _Steps[Any], settle: Callable[[], Any]) -> Any:
    """Work in a separate thread, which an interruption of this one does not reach."""
    outcome: list[Any] = []
    failure: list[BaseException] = []
    settled = threading.Event()

    def work() -> None:
        try:
            outcome.append(settle())
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread
            failure.append(error)
        settled.set()

    try:
        threading.Thread(target=work, name="xalora-settle", daemon=True).start()
        while not settled.wait(0.5):  # In short waits: Windows delivers Ctrl-C only between them.
            pass
    except BaseException as stop:
        deadline = time.monotonic() + SETTLE_SECONDS
        while not settled.is_set() and time.monotonic() < deadline:
            with suppress(KeyboardInterrupt):  # A second one changes nothing.
                settled.wait(0.5)
        if not settled.is_set():
            raise
        steps.held = stop
    if failure:
        raise failure[0]
    return outcome[0]


async def run_async(
    flow: Flow[T], transport: AsyncTransport, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> T:
    """Run the flow on the running event loop and return its result."""
    steps = _Steps(flow)
    while not steps.done:
        try:
            value = await _perform_async(steps, transport, sleep)
        except BaseException as error:  # noqa: BLE001 - the flow decides what each means
            steps.fail(error)
        else:
            steps.succeed(value)
    return steps.result


async def _perform_async(
    steps: _Steps[Any], transport: AsyncTransport, sleep: Callable[[float], Awaitable[object]]
) -> Any:
    match steps.effect:
        case Send(request, timeout, settle=False):
            return await transport.send(request, timeout)
        case Send(request, timeout):
            return await _settle_async(steps, transport.send(request, timeout))
        case Sleep(seconds):
            return await sleep(seconds)
        case Fetch() as fetch:
            return await transport.fetch(fetch)
        case Call(function):
            return await _settle_async(steps, asyncio.to_thread(function))
        case Await(start, settle=False):
            return await start()
        case Await(start):
            return await _settle_async(steps, start())


async def _settle_async(steps: _Steps[Any], work: Coroutine[Any, Any, Any]) -> Any:
    """Work in a separate task, which cancellations of this one do not reach.

    For example, Cancel is pressed 0.1 s after a create was sent, and the answer needs 0.5 s:

    * 0.0 s: the flow yields ``Send(create, settle=True)``; ``settling`` sends it.
    * 0.1 s: ``CancelledError`` is raised in ``asyncio.wait``. It is kept in ``stop``, and the loop waits on.
    * 0.5 s: the answer is there. ``steps.held = stop``, and the flow gets the answer, with the task's id.
    * The flow yields ``Call(ledger.created)``, which is let through: the id is written down.
    * At the next effect, ``held`` is thrown into the flow instead. The flow knows the id by now, and cancels the task.
    """
    settling = _Settling(work, loop=asyncio.get_running_loop())
    stop: asyncio.CancelledError | None = None
    deadline = 0.0
    while not settling.done():
        try:
            await asyncio.wait({settling}, timeout=max(0.0, deadline - time.monotonic()) if stop else None)
        except asyncio.CancelledError as error:
            if stop is None:
                stop, deadline = error, time.monotonic() + SETTLE_SECONDS
        else:
            if not settling.done():
                settling.cancel()
                await asyncio.wait({settling})
    if stop is not None:
        if settling.cancelled():  # It took too long, or was not connected yet when the loop was torn down.
            raise stop
        steps.held = stop
    return settling.result()


class _Settling(asyncio.Task[Any]):
    """A task that may finish when its event loop is torn down, which cancels every other task."""

    def cancel(self, msg: Any = None) -> bool:
        """Refuse while no loop runs: then the loop is being torn down. A transport's own timers run in the loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return super().cancel(msg)
