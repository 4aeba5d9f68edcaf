"""One task: its images to ComfyUI, its prompt, its result to the sequencer."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import APIStatusError, InvalidParameterError, XaloraError, one_line
from ..protocol.miner import Assignment, Input
from ..workflows import CheckedWorkflow
from .comfyui import ComfyUI
from .ends import Failure, PromptLostError, UnexpectedAnswerError, UnreachableError, WorkflowFailedError
from .lease import Lease
from .prompt_run import PromptRun
from .results import result_files
from .retrying import until_answered
from .sequencer_calls import SequencerCalls
from .times import Times


class TaskRun:
    """``run`` carries the task out. ``mark`` begins ComfyUI's client ids of this miner.

    Attributes:
        is_comfy_lost: Whether ComfyUI went away, did not work, or does not let go of the prompt, after ``run``.
    """

    def __init__(
        self,
        task: Assignment,
        workflow: CheckedWorkflow,
        comfy: ComfyUI,
        calls: SequencerCalls,
        mark: str,
        times: Times,
        log: Callable[[str], None],
    ) -> None:
        self._task = task
        self._deadline = None if task.seconds_left is None else time.monotonic() + task.seconds_left
        self._workflow = workflow
        self._comfy = comfy
        self._calls = calls
        self._mark = mark
        self._times = times
        self._log = log
        self._prompt: PromptRun | None = None
        self._complained = False
        self._is_ending = False
        self.is_comfy_lost = False

    async def run(self) -> None:
        """Return when the task is off this miner's hands. Canceled, it gives the task back first."""
        self._say("begun")
        lease = Lease(self._calls, self._task, self._workflow.titles, self._times)
        holding = asyncio.create_task(lease.stopped())
        working = asyncio.create_task(self._work(lease))
        try:
            await asyncio.wait({holding, working}, return_when=asyncio.FIRST_COMPLETED)
            # The end of the task ends the lease too, and may be heard of first there.
            if working.done() or self._is_ending:
                await working
                return
            await _ended(working)
            self._say(f"{holding.result()}, so it is stopped")
            await self._stop_prompt()
            await self._forget()
        except asyncio.CancelledError:
            await _ended(working)
            self._say("given back")
            # At once: a service manager may not let this process wait until a node has stopped.
            giving_back = self._submit({"give_back": "stopping", "msg": "The miner is stopping"}, self._times.give_back)
            await asyncio.gather(giving_back, self._stop_prompt())
            raise
        finally:
            await _ended(holding)

    async def _work(self, lease: Lease) -> None:
        try:
            ending = await self._result(lease)
            self._say("done")
        except WorkflowFailedError as error:
            # ComfyUI's own words may contain the prompt.
            self._say(f"failed. {error.failure.where}".rstrip(". "))
            ending = _failed(error.failure)
        except InvalidParameterError as error:
            self._say("failed: a value is not allowed")
            ending = _failed(Failure(one_line(str(error), 1000)))
        except (PromptLostError, UnreachableError, UnexpectedAnswerError) as error:
            self.is_comfy_lost = True
            begun = error.begun if isinstance(error, PromptLostError) else self._prompt is not None
            # What ComfyUI refuses once it may refuse forever.
            begun = begun or isinstance(error, UnexpectedAnswerError)
            self._say(f"given back. {error.what}")
            if begun:  # Else it stays where it waits, as the sign that ComfyUI's worker is dead.
                await self._stop_prompt()
            ending = {"give_back": "lost" if begun else "stopping", "msg": error.what}
        except (XaloraError, OSError) as error:
            what = error.what if isinstance(error, XaloraError) else f"The miner's disk failed: {error.strerror}"
            self._say(f"given back. {what}")
            ending = {"give_back": "lost", "msg": what}
        patience = self._times.submit
        if self._deadline is not None:
            patience = max(self._times.give_back, min(patience, self._deadline - time.monotonic()))
        self._is_ending = True
        await self._submit(ending, patience)
        await self._forget()

    async def _result(self, lease: Lease) -> dict[str, Any]:
        values = dict(self._task.parameters)
        for name, each in self._task.inputs.items():
            values[name] = await self._hand_over(name, each)
        prompt_id = self._task.prompt_id
        prompt = self._workflow.prompt(values, run=prompt_id)
        outputs = self._workflow.outputs
        run = PromptRun(
            self._comfy,
            prompt,
            prompt_id,
            self._mark + prompt_id,
            outputs,
            self._workflow.titles,
            lease.report,
            self._times,
        )
        self._prompt = run
        began = time.monotonic()
        entry = await run.run()
        made = time.monotonic()
        files = result_files(entry, outputs)
        if not files:
            raise WorkflowFailedError(
                Failure("The workflow ended without a file", outputs[0], self._workflow.titles.get(outputs[0], ""))
            )
        with tempfile.TemporaryDirectory(prefix="xalora-") as folder:
            place = Path(folder) / "result"
            await self._comfy.download(files[0], place)
            key = await self._upload(place)
        more = "" if len(files) == 1 else f"{len(files)} files were made; the first is the result"
        return {
            "success": True,
            "result": key,
            "inference_latency": round(made - began, 3),
            "upload_latency": round(time.monotonic() - made, 3),
            "msg": more,
        }

    async def _hand_over(self, name: str, image: Input) -> str:
        content = await until_answered(
            lambda: self._calls.http.fetch(image.url), self._times, self._complain, deadline=self._deadline
        )
        # Named by content, so that the same image is stored once.
        suffix = mimetypes.guess_extension(image.content_type) or ".png"
        stored = f"xalora-{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
        try:
            return await self._comfy.upload(content, stored, image.content_type)
        except UnexpectedAnswerError as error:
            if error.status != 413:
                raise
            size = f"{name} has {len(content) / 1e6:.0f} MB, more than this ComfyUI takes"
            raise WorkflowFailedError(Failure(f"{size}: start it with a larger --max-upload-size")) from None

    async def _upload(self, file: Path) -> str:
        deadline = time.monotonic() + self._times.submit
        try:
            return await until_answered(
                lambda: self._calls.http.upload(self._task.upload_url, file),
                self._times,
                self._complain,
                deadline=min(deadline, self._deadline or deadline),
            )
        except APIStatusError as error:
            if error.status_code in (413, 415, 422):
                raise WorkflowFailedError(Failure(f"The result was refused: {error.message}")) from None
            raise

    async def _submit(self, ending: dict[str, Any], patience: float) -> None:
        try:
            await until_answered(
                lambda: self._calls.submit(self._task, **ending),
                self._times,
                self._complain,
                deadline=time.monotonic() + patience,
            )
        except XaloraError as error:
            self._say(f"the sequencer did not take its end. {error.what}")

    async def _stop_prompt(self) -> None:
        """Take the prompt out of ComfyUI, if there is one."""
        if self._prompt is not None and not await self._prompt.stop():
            self.is_comfy_lost = True

    async def _forget(self) -> None:
        """Free the memory that ComfyUI's history takes."""
        if self._prompt is not None and not self.is_comfy_lost:
            with suppress(XaloraError):
                await self._comfy.forget(self._task.prompt_id)

    def _say(self, what: str) -> None:
        self._log(f"task {one_line(self._task.task_id, 80)}: {what}")

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            self._say(f"{what}. Trying again")


def _failed(failure: Failure) -> dict[str, Any]:
    return {"success": False, "msg": str(failure), "error": failure.to_json()}


async def _ended(task: asyncio.Task[Any]) -> None:
    """Cancel it, and wait until it is over."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
