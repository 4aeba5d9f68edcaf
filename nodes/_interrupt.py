"""One press of Cancel reaches every Xalora node of the prompt, and every remote task it started."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from . import _host

T = TypeVar("T")

SECONDS_BETWEEN_LOOKS = 0.05


class Prompt:
    """The Xalora nodes at work in one prompt. ComfyUI runs each prompt on an event loop of its own.

    ComfyUI does not wake nodes that wait, so a thread looks whether Cancel was pressed: also while another node's
    sampler holds the event loop. Then all work is cancelled together, and no node reports the interruption before
    every one has told the sequencer: the first report tears the loop down.
    """

    _prompts: WeakKeyDictionary[asyncio.AbstractEventLoop, Prompt] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.interrupted = False
        self.at_work: set[asyncio.Task[Any]] = set()

    @classmethod
    def current(cls) -> Prompt:
        """The prompt of the running event loop."""
        return cls._prompts.setdefault(asyncio.get_running_loop(), cls())

    def cancels(self, _: BaseException) -> bool:
        """Whether a cancelled wait was the user's wish. Another node's failure also cancels, and is not."""
        return self.interrupted or _host.interrupted()

    def check(self) -> None:
        """Raise Interrupted once Cancel was pressed; for work in threads, which cannot be cancelled otherwise."""
        if self.interrupted:
            raise _host.Interrupted

    async def run(self, work: Coroutine[Any, Any, T], each_second: Callable[[], object]) -> T:
        """Await the work, calling ``each_second`` meanwhile. Raises Interrupted when Cancel is pressed."""
        if self.interrupted or _host.interrupted():  # A node that begins while the others are being cancelled.
            work.close()
            raise _host.Interrupted
        task = asyncio.create_task(work)
        self.at_work.add(task)
        if len(self.at_work) == 1:
            threading.Thread(
                target=self._watch, args=(asyncio.get_running_loop(),), name="xalora-interrupt", daemon=True
            ).start()
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=1.0)
                each_second()
            if not self.interrupted and isinstance(_exception_of(task), _host.Interrupted):
                self._interrupt()  # ComfyUI's progress bar saw the flag, and reset it, before the watch did.
            if self.interrupted:
                await asyncio.wait(set(self.at_work))
                raise _host.Interrupted
            return task.result()
        finally:
            if not task.done():
                # ComfyUI leaves the prompt, which cancels the work too. That may still have a task to cancel or an
                # id to note, and the client is closed after this.
                if not getattr(task, "cancelling", int)():  # Before Python 3.11, nobody can tell.
                    task.cancel()
                await asyncio.wait({task})
            self.at_work.discard(task)

    def _interrupt(self) -> None:
        self.interrupted = True
        for task in self.at_work:
            task.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        pause = threading.Event()
        while self.at_work and not loop.is_closed():
            if _host.interrupted():
                self.interrupted = True
                with suppress(RuntimeError):  # The loop was closed since.
                    loop.call_soon_threadsafe(self._interrupt)
                return
            pause.wait(SECONDS_BETWEEN_LOOKS)


def _exception_of(task: asyncio.Task[Any]) -> BaseException | None:
    return None if task.cancelled() else task.exception()
