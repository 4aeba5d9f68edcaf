"""One miner: one ComfyUI, one task at a time, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import ResponseError, XaloraError, one_line
from ..http.retry import retry
from ..protocol.miner import Assignment
from ..workflows import READY_FOLDER, CheckedWorkflow, Workflow, check, read_folder
from .comfyui import ComfyUI
from .errors import NothingToRunError, UnexpectedAnswerError, UnreachableError
from .heartbeat import Heartbeat
from .prompt import Lost, PromptRun
from .sequencer_api import SequencerAPI
from .task import GivenBack, TaskOutcome, log_line, run_stages, submit_fields
from .timeouts import Timeouts

T = TypeVar("T")

Capabilities = Mapping[tuple[str, str | None], CheckedWorkflow]
"""The workflows that a ComfyUI can run, by task type and workflow id."""

_SOONEST_SECONDS = 1.0


class Miner:
    """Runs tasks of one sequencer on one ComfyUI.

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
        timeouts: Timeouts | None = None,
    ) -> None:
        self._comfy = ComfyUI(comfyui)
        self._api = SequencerAPI(sequencer, name, miner_key)
        self._folder = workflows
        self._on_ready = on_ready
        self._write_log = log
        self._timeouts = timeouts or Timeouts()
        self._stopping = asyncio.Event()
        self._logged: dict[str, float] = {}
        owner = hashlib.sha256(f"{self._api.display_url} {name}".encode()).hexdigest()
        self._client_id_prefix = f"xalora-{owner[:12]}-"
        self._is_accepted = False
        self._has_comfy_ended = False

    def finish(self) -> None:
        """End ``run`` after the task at hand, or at once when there is none."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until ``finish`` is called. Canceled, it gives the task at hand back first.

        Raises ConfigurationError when the workflows or the sequencer do not take it.
        """
        async with self._comfy:
            watching = asyncio.create_task(self._watch_comfy())
            try:
                while not self._stopping.is_set():
                    capabilities = await self._unless_finished(self._prepare())
                    if capabilities is not None:
                        await self._serve(capabilities)
            finally:
                await _cancel(watching)

    async def _watch_comfy(self) -> None:
        """Notice when ComfyUI ends, which between tasks nothing else would."""
        while True:
            was_there = False
            with suppress(UnreachableError, UnexpectedAnswerError):
                async with self._comfy.websocket(f"{self._client_id_prefix}watch") as socket:
                    was_there = True
                    async for _ in socket:
                        pass
            self._has_comfy_ended = self._has_comfy_ended or was_there
            await asyncio.sleep(self._timeouts.poll_without_ws)

    async def _prepare(self) -> Capabilities:
        """Wait for ComfyUI and the sequencer, and register with what can be run."""
        while True:
            await self._clear_queue()
            self._has_comfy_ended = False
            object_info = await self._answer_of_comfy(self._comfy.object_info)
            software = await self._answer_of_comfy(self._comfy.system_stats)
            files = {} if self._folder else await self._until_answered(self._api.workflows)
            try:
                capabilities = find_capabilities(read_workflows(self._folder, files), object_info, self._log)
            except NothingToRunError as error:
                if not self._is_accepted:
                    raise
                # It could before: somebody is at work on this ComfyUI.
                self._log_rarely(error.what)
                await asyncio.sleep(self._timeouts.longest_delay)
                continue
            announced = [checked.capability.to_json() for checked in capabilities.values()]
            await self._until_answered(partial(self._api.register, announced, software))
            names = ", ".join(checked.workflow.name for checked in capabilities.values())
            self._log(f"ComfyUI {software['comfyui']} on {software['device']} runs {names}")
            if not self._is_accepted:
                self._is_accepted = True
                self._on_ready(self._api.name)
            self._logged.clear()
            return capabilities

    async def _answer_of_comfy(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except (UnreachableError, UnexpectedAnswerError) as error:
                self._log_rarely(f"{error.what}. Waiting for it")
            await asyncio.sleep(self._timeouts.poll_without_ws)

    async def _until_answered(self, ask: Callable[[], Awaitable[T]], deadline: float = math.inf) -> T:
        """The sequencer's answer, asked for again while errors are transient. ``deadline`` is in monotonic time."""
        return await retry(
            ask,
            remaining=lambda: max(0.0, deadline - time.monotonic()),
            delays=self._timeouts.delays(),
            report=lambda error, _: self._report_retry(error.what),
        )

    async def _clear_queue(self) -> None:
        """Stop the prompts of earlier tasks, also of an earlier process, and wait until ComfyUI has none of them.

        A ComfyUI whose worker is dead answers as before, and keeps the prompt until it is restarted.
        """
        while left := await self._answer_of_comfy(partial(self._comfy.queued_by, self._client_id_prefix)):
            self._log_rarely(
                f"ComfyUI at {self._comfy.display_url} still has prompt {left[0]} of an earlier task. "
                "No tasks are asked for until it has stopped: if it does not, restart that ComfyUI"
            )
            running, _ = await self._answer_of_comfy(self._comfy.queue)
            if running:  # Else it waits for a worker that is dead, and shows so by staying.
                for prompt_id in left:
                    await self._answer_of_comfy(partial(self._comfy.interrupt, prompt_id))
            await asyncio.sleep(self._timeouts.poll_without_ws)

    async def _serve(self, capabilities: Capabilities) -> None:
        """Ask for tasks and run them, until finished or until it must be prepared again."""
        ids = sorted({workflow_id for _, workflow_id in capabilities if workflow_id is not None})
        delays = self._timeouts.delays()
        while not self._stopping.is_set() and not self._has_comfy_ended:
            began = time.monotonic()
            try:
                if await self._is_busy():
                    await self._unless_finished(asyncio.sleep(self._timeouts.poll_without_ws))
                    continue
                answer = await self._unless_finished(self._api.request(ids))
            except (UnreachableError, UnexpectedAnswerError) as error:
                self._log_rarely(error.what)
                return
            except XaloraError as error:
                if not error.transient and not isinstance(error, ResponseError):
                    return  # Registering again says what is wrong.
                self._report_retry(error.what)
                await self._unless_finished(asyncio.sleep(next(delays)))
                continue
            delays = self._timeouts.delays()
            if answer is None:
                return
            task, must_register = answer
            if must_register:
                return
            if task is None:
                if time.monotonic() - began < _SOONEST_SECONDS:  # A server that does not wait.
                    await self._unless_finished(asyncio.sleep(self._timeouts.poll_without_ws))
                continue
            workflow = capabilities.get((task.task_type, task.workflow_id))
            if workflow is None or self._has_comfy_ended:
                await self._refuse(task, "ComfyUI was restarted" if workflow else "this workflow was not offered")
                return
            if not await self.run_task(task, workflow):
                return

    async def _is_busy(self) -> bool:
        """Whether ComfyUI has other prompts. Raises UnreachableError."""
        running, waiting = await self._comfy.queue()
        if running or waiting:
            self._log_rarely(f"ComfyUI at {self._comfy.display_url} is busy with prompts of others")
        return bool(running or waiting)

    async def _refuse(self, task: Assignment, reason: str) -> None:
        self._log(f"{_name(task)}: given back, {reason}")
        with suppress(XaloraError):
            await self._api.submit(task, **submit_fields(GivenBack(reason, "stopping")))

    async def run_task(self, task: Assignment, workflow: CheckedWorkflow) -> bool:
        """Run a task and submit its end, unless the sequencer wants it stopped. Canceled, it gives the task back first.

        Returns whether ComfyUI is fit for another task.
        """
        deadline = math.inf if task.seconds_left is None else time.monotonic() + task.seconds_left
        heartbeat = Heartbeat(self._api, task, workflow.titles, self._timeouts)
        client_id = self._client_id_prefix + task.prompt_id
        run = PromptRun(
            self._comfy, task.prompt_id, client_id, workflow.outputs, workflow.titles, heartbeat.report, self._timeouts
        )
        self._log(f"{_name(task)}: begun")
        stopped = asyncio.create_task(heartbeat.stopped())
        stages = asyncio.create_task(
            run_stages(task, workflow, run, self._comfy, self._api, partial(self._retry, deadline))
        )
        try:
            await asyncio.wait({stopped, stages}, return_when=asyncio.FIRST_COMPLETED)
            if stages.done():
                # The submit ends the lease: what the heartbeat says from here on is of no interest.
                is_fit = await self._end(task, stages.result(), run, deadline)
            else:
                await _cancel(stages)
                self._log(f"{_name(task)}: {stopped.result()}, so it is stopped")
                is_fit = await run.stop()
            if is_fit:
                await run.forget()
            return is_fit
        except asyncio.CancelledError:
            await _cancel(stages)
            self._log(f"{_name(task)}: given back")
            # At once: a service manager may not let this process wait until a node has stopped.
            outcome = GivenBack("The miner is stopping", "stopping")
            await asyncio.gather(self._submit(task, outcome, self._timeouts.give_back), run.stop())
            raise
        finally:
            await _cancel(stopped)

    async def _end(self, task: Assignment, outcome: TaskOutcome, run: PromptRun, deadline: float) -> bool:
        """Submit the end of a task. Returns whether ComfyUI is fit for another."""
        self._log(f"{_name(task)}: {log_line(outcome)}")
        if isinstance(outcome, Lost) and outcome.begun:
            # Else it stays where it waits, as the sign that ComfyUI's worker is dead.
            await run.stop()
        patience = max(self._timeouts.give_back, min(self._timeouts.submit, deadline - time.monotonic()))
        await self._submit(task, outcome, patience)
        return not isinstance(outcome, Lost)

    async def _submit(self, task: Assignment, outcome: TaskOutcome, patience: float) -> None:
        try:
            submit = partial(self._api.submit, task, **submit_fields(outcome))
            await self._until_answered(submit, time.monotonic() + patience)
        except XaloraError as error:
            self._log(f"{_name(task)}: the sequencer did not take its end. {error.what}")

    async def _retry(self, deadline: float, request: Callable[[], Awaitable[T]]) -> T:
        return await self._until_answered(request, min(deadline, time.monotonic() + self._timeouts.submit))

    async def _unless_finished(self, action: Awaitable[T]) -> T | None:
        """The action's result, or None when ``finish`` is called before it has one."""
        acting = asyncio.ensure_future(action)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return await acting if acting.done() else None
        finally:
            await _cancel(acting, stopping)

    def _log(self, text: str) -> None:
        self._write_log(f"Xalora miner {self._api.name}: {text}.")

    def _report_retry(self, reason: str) -> None:
        self._log_rarely(f"{reason}. Trying again")

    def _log_rarely(self, text: str) -> None:
        """Log it, unless it was logged a short while ago."""
        now = time.monotonic()
        if now - self._logged.get(text, -self._timeouts.log_interval) >= self._timeouts.log_interval:
            self._logged[text] = now
            self._log(text)


def read_workflows(folder: Path | None, of_sequencer: Mapping[str, Any]) -> list[Workflow]:
    """The workflows to try: those of the folder, else the sequencer's, else the ones that come with the project.

    Raises ConfigurationError for files that cannot be read as workflows.
    """
    if folder is not None:
        return read_folder(folder)
    if of_sequencer:
        return [Workflow.from_nodes(Path(str(name)).name, nodes) for name, nodes in of_sequencer.items()]
    return read_folder(READY_FOLDER)


def find_capabilities(
    workflows: list[Workflow], object_info: Mapping[str, Any], log: Callable[[str], None]
) -> Capabilities:
    """Those that this ComfyUI can run. The others are logged, with what is wrong.

    Raises NothingToRunError when there are none.
    """
    capabilities: dict[tuple[str, str | None], CheckedWorkflow] = {}
    for workflow in workflows:
        checked = check(workflow, object_info)
        if checked.faults:
            for fault in checked.faults:
                log(f"left out: {fault}")
        else:
            capabilities[workflow.key] = checked
    if not capabilities:
        raise NothingToRunError
    return capabilities


def _name(task: Assignment) -> str:
    return f"task {one_line(task.task_id, 80)}"


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    """Cancel them, and wait until they are over."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
