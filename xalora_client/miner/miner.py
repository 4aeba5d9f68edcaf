"""One miner: one ComfyUI, one task at a time, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..errors import ResponseError, XaloraError, one_line
from ..protocol.miner import Assignment
from .abilities import Abilities, NothingToRunError, abilities, own_workflows
from .comfyui import ComfyUI
from .ends import UnexpectedAnswerError, UnreachableError
from .retrying import until_answered
from .sequencer_calls import SequencerCalls
from .sequencer_http import SequencerHTTP, is_temporary
from .task_run import TaskRun
from .times import Times

T = TypeVar("T")

_SOONEST_SECONDS = 1.0


class Miner:
    """Carries out tasks of one sequencer on one ComfyUI.

    ``on_ready`` is called with the miner's name once the sequencer has accepted it. ``log`` gets plain lines, which
    contain neither keys nor parameters.
    """

    def __init__(
        self,
        name: str,
        comfyui: str,
        sequencer: str,
        *,
        miner_key: str | None = None,
        workflows: Path | None = None,
        on_ready: Callable[[str], None] = lambda name: None,
        log: Callable[[str], None] = lambda line: None,
        times: Times | None = None,
    ) -> None:
        self._comfy = ComfyUI(comfyui)
        self._http = SequencerHTTP(sequencer)
        self._calls = SequencerCalls(self._http, name, miner_key)
        self._folder = workflows
        self._on_ready = on_ready
        self._log_line = log
        self._times = times or Times()
        self._stopping = asyncio.Event()
        self._told: dict[str, float] = {}
        owner = hashlib.sha256(f"{self._http.shown} {name}".encode()).hexdigest()
        self._mark = f"xalora-{owner[:12]}-"
        self._is_accepted = False
        self._is_comfy_new = False

    def finish(self) -> None:
        """End ``run`` after the task at hand, or at once when there is none."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until ``finish`` is called. Canceled, it gives the task at hand back first.

        Raises ConfigurationError when the workflows or the sequencer do not take it.
        """
        async with self._comfy, self._http:
            watching = asyncio.create_task(self._watch())
            try:
                while not self._stopping.is_set():
                    can = await self._unless_finished(self._prepare())
                    if can is not None:
                        await self._serve(can)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        """Notice when ComfyUI ends, which between tasks nothing else would."""
        while True:
            was_there = False
            with suppress(UnreachableError, UnexpectedAnswerError):
                async with self._comfy.websocket(f"{self._mark}watch") as socket:
                    was_there = True
                    async for _ in socket:
                        pass
            self._is_comfy_new = self._is_comfy_new or was_there
            await asyncio.sleep(self._times.look_alone)

    async def _prepare(self) -> Abilities:
        """Wait for ComfyUI and the sequencer, and announce what can be run."""
        while True:
            await self._clear_queue()
            self._is_comfy_new = False
            object_info = await self._answer_of_comfy(self._comfy.object_info)
            software = await self._answer_of_comfy(self._comfy.system_stats)
            files = {} if self._folder else await until_answered(self._calls.workflows, self._times, self._complain)
            try:
                can = abilities(own_workflows(self._folder, files), object_info, self._log)
            except NothingToRunError as error:
                if not self._is_accepted:
                    raise
                # It could before: somebody is at work on this ComfyUI.
                self._quietly(error.what)
                await asyncio.sleep(self._times.longest_delay)
                continue
            announced = [each.announcement() for each in can.values()]
            await until_answered(partial(self._calls.register, announced, software), self._times, self._complain)
            names = ", ".join(each.workflow.name for each in can.values())
            self._log(f"ComfyUI {software['comfyui']} on {software['device']} runs {names}")
            if not self._is_accepted:
                self._is_accepted = True
                self._on_ready(self._calls.name)
            self._told.clear()
            return can

    async def _answer_of_comfy(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except (UnreachableError, UnexpectedAnswerError) as error:
                self._quietly(f"{error.what}. Waiting for it")
            await asyncio.sleep(self._times.look_alone)

    async def _clear_queue(self) -> None:
        """Stop the prompts of earlier tasks, also of an earlier process, and wait until ComfyUI has none any more.

        A ComfyUI whose worker is dead answers as before, and keeps the prompt until it is restarted.
        """
        while left := await self._answer_of_comfy(partial(self._comfy.queued_by, self._mark)):
            self._quietly(
                f"ComfyUI at {self._comfy.shown} still has prompt {left[0]} of an earlier task. "
                "No tasks are asked for until it has stopped: if it does not, restart that ComfyUI"
            )
            running, _ = await self._answer_of_comfy(self._comfy.queue)
            if running:  # Else it waits for a worker that is dead, and shows so by staying.
                for prompt_id in left:
                    await self._answer_of_comfy(partial(self._comfy.interrupt, prompt_id))
            await asyncio.sleep(self._times.look_alone)

    async def _serve(self, can: Abilities) -> None:
        """Ask for tasks and carry them out, until finished or until all must be looked at again."""
        ids = sorted({workflow_id for _, workflow_id in can if workflow_id is not None})
        delay = self._times.first_delay
        while not self._stopping.is_set() and not self._is_comfy_new:
            began = time.monotonic()
            try:
                if await self._is_busy():
                    await self._unless_finished(asyncio.sleep(self._times.look_alone))
                    continue
                asked = await self._unless_finished(self._calls.request(ids))
            except (UnreachableError, UnexpectedAnswerError) as error:
                self._quietly(error.what)
                return
            except XaloraError as error:
                if not is_temporary(error) and not isinstance(error, ResponseError):
                    return  # Registering again says what is wrong.
                self._complain(error.what)
                await self._unless_finished(asyncio.sleep(delay))
                delay = min(2 * delay, self._times.longest_delay)
                continue
            delay = self._times.first_delay
            if asked is None:
                return
            task, must_register = asked
            if must_register:
                return
            if task is None:
                if time.monotonic() - began < _SOONEST_SECONDS:  # A server that does not wait.
                    await self._unless_finished(asyncio.sleep(self._times.look_alone))
            elif not await self._carry_out(task, can):
                return

    async def _is_busy(self) -> bool:
        """Whether ComfyUI has other prompts. Raises UnreachableError."""
        running, waiting = await self._comfy.queue()
        if running or waiting:
            self._quietly(f"ComfyUI at {self._comfy.shown} is busy with prompts of others")
        return bool(running or waiting)

    async def _carry_out(self, task: Assignment, can: Abilities) -> bool:
        """Returns whether ComfyUI is as before."""
        workflow = can.get((task.task_type, task.workflow_id))
        if workflow is None or self._is_comfy_new:
            why = "ComfyUI was restarted" if workflow else "this workflow was not offered"
            self._log(f"task {one_line(task.task_id, 80)}: given back, {why}")
            with suppress(XaloraError):
                await self._calls.submit(task, success=False, give_back="stopping", msg=why)
            return False
        run = TaskRun(task, workflow, self._comfy, self._calls, self._mark, self._times, self._log)
        await run.run()
        return not run.is_comfy_lost

    async def _unless_finished(self, action: Awaitable[T]) -> T | None:
        """The action's result, or None when ``finish`` is called before it has one."""
        acting = asyncio.ensure_future(action)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return await acting if acting.done() else None
        finally:
            for each in (acting, stopping):
                each.cancel()
            await asyncio.gather(acting, stopping, return_exceptions=True)

    def _log(self, what: str) -> None:
        self._log_line(f"Xalora miner {self._calls.name}: {what}.")

    def _complain(self, what: str) -> None:
        self._quietly(f"{what}. Trying again")

    def _quietly(self, what: str) -> None:
        """Log it, unless it was logged a short while ago."""
        now = time.monotonic()
        if now - self._told.get(what, -self._times.quiet) >= self._times.quiet:
            self._told[what] = now
            self._log(what)
