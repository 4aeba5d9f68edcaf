"""How SIGTERM and SIGHUP end a command: in order, as Ctrl-C does.

They have handlers from the start: for the first process of a container, the system ignores signals without one.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")
"""SIGBREAK is Windows' when a console is closed."""


class EndedBySignal(KeyboardInterrupt):
    """Raised when a signal has ended a command. ``number`` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Ended by {signal.Signals(number).name}")
        self.number = number


@contextmanager
def ending_in_order() -> Iterator[Callable[[Callable[[], Coroutine[Any, Any, int]]], int]]:
    """Handle the signals; yields what runs a command and returns its exit code.

    That raises EndedBySignal, when the command has ended. Signals that whoever started it ignores, as ``nohup`` does,
    stay ignored.
    """
    received: list[int] = []
    cancel: Callable[[], object] | None = None

    def end(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        if cancel is None:
            raise EndedBySignal(number)
        cancel()

    def run(command: Callable[[], Coroutine[Any, Any, int]]) -> int:
        import asyncio  # Late, so that help comes at once.

        async def main() -> int:
            nonlocal cancel
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None  # noqa: S101 - this is one

            def cancel_task() -> None:
                if asyncio.current_task(loop) is task:  # It waits for a person or a pipe, and not for the loop.
                    raise EndedBySignal(received[-1])
                loop.call_soon_threadsafe(task.cancel)

            # Asyncio's own only cancels the task, which a read of stdin does not notice.
            by_asyncio = signal.getsignal(signal.SIGINT) if before else None

            def interrupt(number: int, frame: FrameType | None) -> None:
                if asyncio.current_task(loop) is task:
                    raise KeyboardInterrupt
                if callable(by_asyncio):
                    by_asyncio(number, frame)

            if callable(by_asyncio):
                signal.signal(signal.SIGINT, interrupt)
            cancel = cancel_task
            try:
                return await command()
            finally:
                cancel = None
                if callable(by_asyncio):
                    signal.signal(signal.SIGINT, by_asyncio)

        try:
            code = asyncio.run(main())
        except asyncio.CancelledError:
            if not received:
                raise
        if received:
            raise EndedBySignal(received[-1])
        return code

    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [number for name in _NAMES if (number := getattr(signal, name, None)) is not None]
        before = {
            number: signal.signal(number, end) for number in numbers if signal.getsignal(number) is signal.SIG_DFL
        }
    try:
        yield run
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
