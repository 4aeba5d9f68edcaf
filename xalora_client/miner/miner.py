"""One miner: asks a sequencer for tasks and runs them on one ComfyUI, one at a time."""

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

from ..errors import APIStatusError, ConfigurationError, NetworkError, ResponseError, XaloraError, one_line
from ..http.retry import retry
from ..protocol.miner import Assignment
from ..workflows import READY_FOLDER, CheckedWorkflow, Workflow, WorkflowFileError, check, read_folder
from . import cancel
from .comfyui import ComfyUI
from .errors import Requeued, UnexpectedAnswerError, UnreachableError
from .heartbeat import Heartbeat
from .prompt import OTHERS_RUN, WAITS_FOR_TASK, PromptRun
from .sequencer_api import SequencerAPI
from .task import TaskOutcome, log_line, run_stages, submit_fields
from .timeouts import Timeouts

T = TypeVar("T")

Capabilities = Mapping[tuple[str, str | None], CheckedWorkflow]
"""The workflows that a ComfyUI can run, by task type and workflow id."""

LeftOut = Mapping[tuple[str, str | None], str]
"""Why a ComfyUI cannot run the other workflows, by the same."""

_SHORTEST_REQUEST = 1.0
"""Seconds. A faster answer without a task means that the sequencer does not wait for one: pause before the next."""

_MOST_LINES = 100
"""Different lines that are remembered, so that each is logged once in a while."""


class Miner:
    """Runs tasks of one sequencer on one ComfyUI.

    ``workflows`` is a folder of workflow files. Without one, those of the sequencer are run if ``accepts_workflows``:
    they can do on this machine whatever its ComfyUI's nodes can. Else, if the sequencer has none, the ones that come
    with the project are.

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
        accepts_workflows: bool = False,
        on_ready: Callable[[str], None] = lambda name: None,
        log: Callable[[str], None] = lambda line: None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._comfy = ComfyUI(comfyui)
        self._api = SequencerAPI(sequencer, name, miner_key)
        self._folder = workflows
        self._accepts_workflows = accepts_workflows
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
        """End ``run`` after the task at hand, or at once if there is none."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until ``finish`` is called. If this is cancelled, the task at hand is returned to the queue first.

        Raises ConfigurationError when no workflow can be run, or the sequencer does not accept the miner, and
        NetworkError when its address can never be reached. Once it was accepted, it waits for what goes wrong to end.
        """
        async with self._comfy:
            watching = asyncio.create_task(self._watch_comfy())
            try:
                while not self._stopping.is_set():
                    try:
                        capabilities = await self._unless_finished(self._prepare())
                    except (ResponseError, APIStatusError, NetworkError, ConfigurationError) as error:
                        # What is said of the setup helps only whoever starts it.
                        if not self._is_accepted and isinstance(error, NetworkError | ConfigurationError):
                            raise
                        self._log_rarely(f"{error.what}. Trying again")
                        await self._pause(self._timeouts.longest_delay)
                        continue
                    if capabilities is not None:
                        await self._serve(capabilities)
                        await self._pause(self._timeouts.poll_without_ws)  # It may say "register" each time.
            finally:
                await cancel(watching)

    async def _watch_comfy(self) -> None:
        """Notice when ComfyUI ends. Between tasks, nothing else would notice."""
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
        await self._clear_queue()
        object_info = await self._ask_comfyui(self._comfy.object_info)
        self._has_comfy_ended = False  # It sends nothing while it describes its nodes, so that the websocket may end.
        software = await self._ask_comfyui(self._comfy.system_stats)
        files = {} if self._folder else await self._ask_sequencer(self._api.workflows)
        if files and not self._accepts_workflows:
            raise ConfigurationError(
                f"The sequencer at {self._api.display_url} sends workflow files of its own. Who writes them can do "
                "on this machine whatever the nodes of its ComfyUI can",
                advice="Name a folder after --workflows, or add --accept-workflows if you trust that sequencer.",
            )
        read = read_workflows(self._folder, files, self._log)
        capabilities, left_out = find_capabilities(read, object_info, self._log)
        if not capabilities:
            raise ConfigurationError(
                "This ComfyUI can run none of the workflows",
                advice="Correct the workflows that are named above, or name another folder after --workflows.",
            )
        workflows = [checked.capability.to_json() for checked in capabilities.values()]
        await self._ask_sequencer(partial(self._api.register, workflows, software, left_out))
        names = ", ".join(checked.workflow.name for checked in capabilities.values())
        self._log(f"ComfyUI {software['comfyui']} on {software['device']} runs {names}")
        if not self._is_accepted:
            self._is_accepted = True
            self._on_ready(self._api.name)
        self._logged.clear()
        return capabilities

    async def _ask_comfyui(self, ask: Callable[[], Awaitable[T]]) -> T:
        """ComfyUI's answer, asked for until there is one."""
        while True:
            try:
                return await ask()
            except (UnreachableError, UnexpectedAnswerError) as error:
                self._log_rarely(f"{error.what}. Waiting for it")
            await asyncio.sleep(self._timeouts.poll_without_ws)

    async def _ask_sequencer(
        self, ask: Callable[[], Awaitable[T]], seconds: float = math.inf, tries: float = math.inf
    ) -> T:
        """The sequencer's answer, asked for again for so many seconds and times while errors are transient."""
        deadline = time.monotonic() + seconds
        return await retry(
            ask,
            tries=tries,
            remaining=lambda: max(0.0, deadline - time.monotonic()),
            delays=self._timeouts.delays(),
            report=lambda error, _: self._log_rarely(f"{error.what}. Trying again"),
        )

    async def _ask_until(self, deadline: float, ask: Callable[[], Awaitable[T]], tries: float = math.inf) -> T:
        """The sequencer's answer about a task, asked for until the deadline (monotonic), but at least for a while."""
        seconds = min(deadline - time.monotonic(), self._timeouts.submit)
        return await self._ask_sequencer(ask, max(self._timeouts.requeue, seconds), tries)

    async def _clear_queue(self) -> None:
        """Stop the prompts of earlier tasks, also of an earlier process, and wait until ComfyUI has none of them.

        A ComfyUI whose worker is dead answers as before, and keeps the prompt until it is restarted.
        """
        while True:
            running, waiting, _ = await self._ask_comfyui(self._comfy.queue)
            clients = (running | waiting).items()
            left = [prompt_id for prompt_id, client_id in clients if client_id.startswith(self._client_id_prefix)]
            if not left:
                return
            self._log_rarely(
                f"ComfyUI at {self._comfy.display_url} still has prompt {left[0]} of an earlier task. "
                "No tasks are asked for until it has stopped: if it does not, restart that ComfyUI"
            )
            if running:  # Else the worker is dead. While its prompt is in the queue, no tasks are asked for.
                for prompt_id in left:
                    await self._ask_comfyui(partial(self._comfy.interrupt, prompt_id))
            await asyncio.sleep(self._timeouts.poll_without_ws)

    async def _serve(self, capabilities: Capabilities) -> None:
        """Ask for tasks and run them, until finished or until it must be prepared again."""
        ids = sorted({workflow_id for _, workflow_id in capabilities if workflow_id is not None})
        delays = self._timeouts.delays()
        while not self._stopping.is_set() and not self._has_comfy_ended:
            started = time.monotonic()
            try:
                running, waiting, waits_for_task = await self._comfy.queue()
                if running or waiting:
                    self._log_rarely(f"ComfyUI at {self._comfy.display_url} is busy with prompts of others")
                    if waits_for_task is not None:
                        self._log_rarely(
                            "The prompt there has Xalora nodes. If they wait for a task that only this miner runs, "
                            "both wait for each other: name another ComfyUI after --comfyui, or use nodes in that "
                            "prompt that run there"
                        )
                    reason = OTHERS_RUN if waits_for_task is None else WAITS_FOR_TASK
                    with suppress(XaloraError):  # Other sequencers do not know it. The next request shows the rest.
                        await self._unless_finished(self._api.report_occupied(reason, waits_for_task))
                    await self._pause(self._timeouts.poll_without_ws)
                    continue
                answer = await self._unless_finished(self._api.request(ids))
            except (UnreachableError, UnexpectedAnswerError) as error:
                self._log_rarely(error.what)
                return
            except XaloraError as error:
                if not error.transient and not isinstance(error, ResponseError):
                    return  # Registering again shows what is wrong.
                self._log_rarely(f"{error.what}. Trying again")
                await self._pause(next(delays))
                continue
            delays = self._timeouts.delays()
            task, must_register = answer or (None, True)
            if must_register:
                return
            if task is None:
                if time.monotonic() - started < _SHORTEST_REQUEST:
                    await self._pause(self._timeouts.poll_without_ws)
                continue
            workflow = capabilities.get((task.task_type, task.workflow_id))
            if workflow is None or self._has_comfy_ended:
                reason = "ComfyUI was restarted" if workflow else "This miner does not have its workflow"
                await self._submit(task, Requeued(reason, is_attempt=False))
                return
            if not await self.run_task(task, workflow):
                return

    async def run_task(self, task: Assignment, workflow: CheckedWorkflow) -> bool:
        """Run a task and submit its outcome, unless the sequencer wants it stopped.

        If this is cancelled, the task is returned to the queue first. Returns whether this ComfyUI may get another.
        """
        deadline = math.inf if task.seconds_left is None else time.monotonic() + task.seconds_left
        heartbeat = Heartbeat(self._api, task, workflow.titles, self._timeouts)
        run = PromptRun(
            self._comfy,
            task.prompt_id,
            self._client_id_prefix + task.prompt_id,
            workflow.outputs,
            workflow.titles,
            heartbeat.report,
            self._timeouts,
        )

        ask = partial(self._ask_until, deadline)
        input_deadline = min(deadline, time.monotonic() + self._timeouts.inputs)
        ask_input = partial(self._ask_until, input_deadline, tries=self._timeouts.input_tries)
        self._log(f"{_name(task)}: started")
        stopped = asyncio.create_task(heartbeat.run_until_stopped())
        stages = asyncio.create_task(run_stages(task, workflow, run, self._comfy, self._api, ask, ask_input))
        try:
            await asyncio.wait({stopped, stages}, return_when=asyncio.FIRST_COMPLETED)
            if stages.done():
                # The submit ends the lease: what the heartbeat reports from here on does not matter.
                outcome = stages.result()
                is_fit = not isinstance(outcome, Requeued) or outcome.is_fit
                if isinstance(outcome, Requeued) and outcome.is_attempt and not is_fit:
                    # A prompt that only waits stays in the queue: it shows that ComfyUI's worker is dead.
                    await run.stop()
                await self._submit(task, outcome, deadline)
            else:
                await cancel(stages)
                self._log(f"{_name(task)}: {stopped.result()}, so it is stopped")
                is_fit = await run.stop()
            if is_fit:
                await run.forget()
            return is_fit
        except asyncio.CancelledError:
            await cancel(stages)
            # At once: a service manager may not let this process wait until a node has stopped.
            outcome = Requeued("The miner is stopping", is_attempt=False)
            await asyncio.gather(self._submit(task, outcome), run.stop())
            raise
        finally:
            await cancel(stopped)

    async def _submit(self, task: Assignment, outcome: TaskOutcome, deadline: float = 0.0) -> None:
        """Log and submit the outcome of a task, for at least ``requeue`` and at most ``submit`` seconds."""
        self._log(f"{_name(task)}: {log_line(outcome)}")
        try:
            await self._ask_until(deadline, partial(self._api.submit, task, **submit_fields(outcome)))
        except XaloraError as error:
            self._log(f"{_name(task)}: the sequencer did not accept its outcome. {error.what}")

    async def _pause(self, seconds: float) -> None:
        await self._unless_finished(asyncio.sleep(seconds))

    async def _unless_finished(self, action: Awaitable[T]) -> T | None:
        """The action's result, or None when ``finish`` is called before it has one."""
        acting = asyncio.ensure_future(action)
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return await acting if acting.done() else None
        finally:
            await cancel(acting, stopping)

    def _log(self, text: str) -> None:
        self._write_log(f"Xalora miner {self._api.name}: {text}.")

    def _log_rarely(self, text: str) -> None:
        """Log it, unless it was logged a short while ago."""
        now = time.monotonic()
        if len(self._logged) > _MOST_LINES:  # A sequencer may say something else each time.
            self._logged.clear()
        if now - self._logged.get(text, -self._timeouts.log_interval) >= self._timeouts.log_interval:
            self._logged[text] = now
            self._log(text)


def read_workflows(folder: Path | None, of_sequencer: Mapping[str, Any], log: Callable[[str], None]) -> list[Workflow]:
    """The workflows to try: those of the folder, else the sequencer's, else the ones that come with the project.

    Those of the sequencer that are none are logged. Raises ConfigurationError for others that are none.
    """
    if folder is not None or not of_sequencer:
        return read_folder(folder or READY_FOLDER)
    workflows = []
    for name, nodes in of_sequencer.items():
        try:
            workflows.append(Workflow.from_nodes(Path(name).name, nodes))
        except WorkflowFileError as error:
            log(f"left out: {error.what}")
    return workflows


def find_capabilities(
    workflows: list[Workflow], object_info: Mapping[str, Any], log: Callable[[str], None]
) -> tuple[Capabilities, LeftOut]:
    """Those that this ComfyUI can run, and what is wrong with the others, which is logged as well."""
    capabilities: dict[tuple[str, str | None], CheckedWorkflow] = {}
    left_out: dict[tuple[str, str | None], str] = {}
    for workflow in workflows:
        try:
            checked = check(workflow, object_info)
        except Exception as error:  # noqa: BLE001 - whatever a ComfyUI says of its nodes, the miner goes on
            reason = f"{workflow.name}: this ComfyUI describes its nodes otherwise than others do ({error!r})"
            left_out[workflow.key] = reason
            log(f"left out: {reason}")
            continue
        for fault in checked.faults:
            log(f"left out: {fault}")
        if checked.faults:
            left_out[workflow.key] = "; ".join(map(str, checked.faults))
        else:
            capabilities[workflow.key] = checked
    return capabilities, left_out


def _name(task: Assignment) -> str:
    return f"task {one_line(task.task_id, 80)}"
