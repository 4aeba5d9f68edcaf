"""How the blocking client calls asynchronous code, and what an interruption does to it.

Each call runs on an event loop of its own, in a thread. So it also works in a thread that runs an event loop itself, as
in a notebook, and in a forked process, and nothing stays open between calls. The calling thread waits, runs the
caller's own functions when it is asked to, and receives Ctrl-C. Under gevent, a greenlet does so.

``finish`` and ``Unbreakable`` protect what an interruption must not stop: it is raised when that is done.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar, overload

from ..threads import loop_thread, put_from_threads

T = TypeVar("T")

CHECK_SECONDS = 0.5
"""Seconds of one wait. Windows delivers Ctrl-C only between waits."""

SECONDS_TO_STOP = 40.0
"""How long an interruption waits for the call to end: a create in flight is recorded, and the task canceled."""

LONGEST_TO_FINISH = 20.0
"""How long an interruption waits for an outcome that must not be lost."""

_Question: TypeAlias = tuple[Callable[[], Any], "Future[Any] | None"]
"""A function that the caller runs, and where its answer goes; without that, its answer is the next item."""

_current: ContextVar[_Call[Any] | None] = ContextVar("xalora_call", default=None)


def run(start: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Await ``start()`` on an event loop in a thread. An interruption of this thread cancels it, and is then raised."""
    return _Call(start).wait()


def stream(start: Callable[[Callable[[T], object]], Coroutine[Any, Any, object]]) -> Iterator[T]:
    """Await ``start(put)`` on an event loop in a thread, and yield what it puts. Leaving the iteration cancels it."""
    call: _Call[object] = _Call(lambda: start(call.put))
    yield from call.items()


@overload
def in_caller(function: Callable[..., T]) -> Callable[..., T]: ...
@overload
def in_caller(function: None) -> None: ...


def in_caller(function: Callable[..., T] | None) -> Callable[..., T] | None:
    """Make a function run in the thread that made the blocking call, if there is one. What it raises ends that call."""
    if function is None:
        return None

    @wraps(function)
    def ask(*arguments: Any) -> T:
        call = _current.get()
        return function(*arguments) if call is None else call.ask(lambda: function(*arguments))

    return ask


def interruption(stop: BaseException) -> BaseException:
    """The caller's own interruption. On the call's loop, it only appears as a cancellation."""
    call = _current.get()
    return stop if call is None or call.stop is None else call.stop


class _StoppedError(BaseException):
    """The caller was interrupted while it was asked something."""


class _Call(Generic[T]):
    """One call on a loop in a thread. ``stop`` is what interrupted the waiting thread, or None."""

    def __init__(self, start: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._start = start
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._put = put_from_threads(self._questions)
        self._lock = threading.Lock()
        self.stop: BaseException | None = None
        self._cancel: Callable[[], object] | None = None
        self._answer: Future[Any] | None = None
        self._result: T
        self._error: BaseException | None = None

    def wait(self) -> T:
        """Run the call, and what it asks for."""
        with self._running():
            while self._next_item() is not None:
                pass
        return self._result

    def items(self) -> Iterator[Any]:
        """Run the call, and what it asks for; yield what it puts."""
        with self._running():
            while (item := self._next_item()) is not None:
                yield item()

    @contextmanager
    def _running(self) -> Iterator[None]:
        """While the call runs in its thread. Then raises its error. What is raised meanwhile interrupts it."""
        thread = loop_thread(self._run_loop, "xalora-call")
        try:
            thread.start()
            yield
        except BaseException as stop:
            with suppress(RuntimeError):  # It was not even started.
                self._interrupt(stop, thread)
            raise
        thread.join()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # Else it would keep itself alive, and the answer with it.

    def _next_item(self) -> Callable[[], Any] | None:
        """Run what the call asks for, until it puts something. None at its end."""
        while (question := self._next()) is not None:
            function, self._answer = question
            if self._answer is None:
                return function
            self._answer.set_result(function())
            self._answer = None
        return None

    def put(self, item: Any) -> None:
        """From within the call: hand something to who iterates over it."""
        self._put((lambda: item, None))

    def ask(self, function: Callable[[], Any]) -> Any:
        """From within the call: have the waiting thread run a function. What it raises also ends the wait."""
        answer: Future[Any] = Future()
        with self._lock:
            if self.stop is not None:
                raise _StoppedError
            self._put((function, answer))
        return answer.result()

    def _next(self) -> _Question | None:
        while True:
            with suppress(Empty):
                return self._questions.get(timeout=CHECK_SECONDS)

    def _interrupt(self, stop: BaseException, thread: threading.Thread) -> None:
        """Cancel the call, and wait until it has ended. More interruptions change nothing."""
        with self._lock:
            self.stop = stop
            cancel = self._cancel
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(_StoppedError())
        elif cancel is not None:
            with suppress(RuntimeError):  # The loop has ended by itself.
                cancel()
        deadline = time.monotonic() + SECONDS_TO_STOP
        while thread.is_alive() and time.monotonic() < deadline:
            with suppress(KeyboardInterrupt, Empty):
                if (question := self._questions.get(timeout=CHECK_SECONDS)) is None:
                    thread.join()
                elif (unanswered := question[1]) is not None:
                    unanswered.set_exception(_StoppedError())

    def _run_loop(self) -> None:
        try:
            self._result = asyncio.run(self._main())
        except BaseException as error:  # noqa: BLE001 - carried over to the waiting thread
            self._error = error
        self._put(None)

    async def _main(self) -> T:
        _current.set(self)
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None  # noqa: S101 - this is one
        with self._lock:
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            if self.stop is not None:
                raise _StoppedError
        return await self._start()


class Unbreakable(asyncio.Task[T], Generic[T]):
    """A task that may finish when its event loop is torn down, which cancels every other task."""

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__(coroutine, loop=asyncio.get_running_loop())

    def cancel(self, msg: Any = None) -> bool:
        """Refuse while no loop runs: then the loop is being torn down. A transport's own timers run in the loop."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return super().cancel(msg)


async def wait_until_done(task: asyncio.Task[Any]) -> None:
    """Wait up to 20 s until the task is done, whatever interrupts meanwhile. After that it is canceled."""
    deadline = time.monotonic() + LONGEST_TO_FINISH
    while not task.done():
        left = deadline - time.monotonic()
        if left <= 0:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task}, timeout=max(0.0, left) or None)


async def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Await the coroutine. An interruption is raised when it has ended, or after 20 s."""
    task = Unbreakable(coroutine)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await wait_until_done(task)
        if not task.cancelled():
            task.exception()  # Retrieved, but not raised: the interruption matters more.
        raise
