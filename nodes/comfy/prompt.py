"""The prompt that runs: Cancel stops the Xalora nodes in it. Which node of which workflow runs."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from . import IN_COMFYUI
from .users import FIELD as USER

if IN_COMFYUI:
    from comfy import model_management
    from comfy_execution.utils import get_executing_context
    from server import PromptServer

    Interrupted = model_management.InterruptProcessingException
else:

    class Interrupted(BaseException):  # type: ignore[no-redef]
        """The user pressed Cancel."""


SECONDS_BETWEEN_CHECKS = 0.05

T = TypeVar("T")

_cancel_pressed = threading.Event()


def _watch_interrupt_flag() -> None:
    """Remember that Cancel was pressed until ComfyUI begins the next prompt.

    ComfyUI's flag alone is not enough: the first to act on it resets it. A sampler that runs next to our nodes does so
    within milliseconds, and to our nodes that looks like the failure of another node. Remote tasks that the user
    canceled would then continue and cost money. So ComfyUI's only setter of the flag is wrapped; what it does is
    unchanged.
    """
    set_flag = model_management.interrupt_current_processing

    @functools.wraps(set_flag)
    def set_and_remember(value: bool = True) -> None:
        if value:
            _cancel_pressed.set()
        else:
            _cancel_pressed.clear()
        set_flag(value)

    model_management.interrupt_current_processing = set_and_remember


if IN_COMFYUI:
    _watch_interrupt_flag()


def interrupted() -> bool:
    """Whether Cancel was pressed in this prompt."""
    return _cancel_pressed.is_set()


class Prompt:
    """The Xalora nodes that run in one prompt. ComfyUI runs each prompt on its own event loop.

    ComfyUI does not wake nodes that wait, so a thread checks whether Cancel was pressed, even while another node's
    sampler blocks the event loop. Then all of our nodes are canceled together. No node reports the interruption before
    all have sent their cancels, because the first report tears down the loop.
    """

    _prompts: WeakKeyDictionary[asyncio.AbstractEventLoop, Prompt] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.interrupted = False
        self.running: set[asyncio.Task[Any]] = set()
        self.submitted: set[str] = set()  # The tasks that this prompt created.

    @classmethod
    def current(cls) -> Prompt:
        """The prompt of the running event loop."""
        return cls._prompts.setdefault(asyncio.get_running_loop(), cls())

    def should_cancel(self, stop: BaseException) -> bool:
        """Whether the user canceled the wait. The failure of another node also cancels it."""
        # ComfyUI's progress bar raises Interrupted, and resets the flag.
        return isinstance(stop, Interrupted) or self.interrupted or interrupted()

    def raise_if_interrupted(self) -> None:
        """Raise Interrupted once Cancel was pressed. For threads, which cannot be canceled otherwise."""
        if self.interrupted:
            raise Interrupted

    async def run(self, node: Coroutine[Any, Any, T], on_tick: Callable[[], object]) -> T:
        """Await a node's coroutine, calling ``on_tick`` each second. Raises Interrupted when Cancel is pressed."""
        if self.interrupted or interrupted():  # A node that begins while the others are being canceled.
            node.close()
            raise Interrupted
        task = asyncio.create_task(node)
        self.running.add(task)
        if len(self.running) == 1:
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._watch, args=(loop,), name="xalora-interrupt", daemon=True).start()
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=1.0)
                on_tick()
            if self.interrupted:
                await asyncio.wait(set(self.running))
                raise Interrupted
            return task.result()
        finally:
            if not task.done():
                # ComfyUI leaves the prompt, which also cancels the task. It may still have to cancel a remote task or
                # to record an id, and the client is closed after this.
                if not getattr(task, "cancelling", int)():  # Before Python 3.11, this cannot be known.
                    task.cancel()
                await asyncio.wait({task})
            self.running.discard(task)

    def interrupt(self) -> None:
        """Cancel what all of our nodes do: Cancel was pressed."""
        self.interrupted = True
        for task in self.running:
            task.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        pause = threading.Event()
        while self.running and not loop.is_closed():
            if interrupted():
                self.interrupted = True
                with suppress(RuntimeError):  # The loop was closed meanwhile.
                    loop.call_soon_threadsafe(self.interrupt)
                return
            pause.wait(SECONDS_BETWEEN_CHECKS)


def _running_node() -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """The id of the node that runs, its prompt, and what was sent beside it, which are empty where not known."""
    context = get_executing_context() if IN_COMFYUI else None
    if context is None:
        return None
    for _, prompt_id, prompt, extra, *_ in list(PromptServer.instance.prompt_queue.currently_running.values()):
        if prompt_id == context.prompt_id:
            return str(context.node_id), prompt, extra
    return str(context.node_id), {}, {}


def prompt_id() -> str:
    """The id of the prompt that runs; "" where it is not known."""
    context = get_executing_context() if IN_COMFYUI else None
    return "" if context is None else str(context.prompt_id)


def is_wanted(output: int) -> bool:
    """Whether a node is connected to this output of the node that runs. Where that is not known, it is presumed."""
    node_id, prompt, _ = _running_node() or ("", {}, {})
    if node_id not in prompt:  # Another node has made it while the prompt runs, or a program runs it.
        return True
    return any([node_id, output] in node.get("inputs", {}).values() for node in prompt.values())


def caller() -> dict[str, str] | None:
    """Of the node that runs the ``node`` id, ``title``, ``workflow`` id and ``user``, as far as they are known.

    And the ``run``, a prompt's id: the tasks of one node in one run are a batch.
    """
    running = _running_node()
    if running is None:
        return None
    node_id, prompt, extra = running
    found = {"node": node_id, "run": prompt_id()}
    # A prompt that a program sends in place of the editor has no titles, and no workflow.
    with suppress(KeyError, TypeError):
        found["title"] = str(prompt[node_id]["_meta"]["title"])[:200]
    with suppress(KeyError, TypeError):
        found["workflow"] = str(extra["extra_pnginfo"]["workflow"]["id"])[:200]
    if user := extra.get(USER):
        found["user"] = user
    return found
