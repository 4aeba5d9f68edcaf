"""One prompt on one ComfyUI, from the queue to its outcome.

The websocket quickly reports what happens; the history is the truth. So a lost websocket loses no prompt, and a prompt
that is in neither queue nor history was lost with its ComfyUI.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import aiohttp

from ..errors import one_line
from ..protocol.miner import is_out_of_memory
from . import cancel
from .comfyui import ComfyUI
from .errors import OutcomeError, Requeued, UnexpectedAnswerError, UnreachableError, WorkflowFailure, outcome_of
from .progress import Progress
from .timeouts import Timeouts

_ACCEPTED_SECONDS = 10.0
_CONNECT_SECONDS = 3.0

OTHERS_RUN = "ComfyUI is busy with prompts of others"
WAITS_FOR_TASK = "ComfyUI runs a prompt with Xalora nodes, which may wait for this task"


@dataclass(frozen=True)
class Finished:
    """The prompt ran. ``batches`` are the files of its output nodes as ``output_files`` gives them: at least one."""

    batches: list[list[dict[str, str]]]


Outcome: TypeAlias = Finished | WorkflowFailure | Requeued


@dataclass(eq=False)
class PromptRun:
    """One run of a prompt.

    Attributes:
        comfy: The ComfyUI.
        prompt_id: A UUID for this run alone.
        client_id: Whose websocket ComfyUI reports to.
        outputs: The ids of the nodes whose files are the result.
        titles: The nodes' titles by id.
        on_progress: Called after each change of the progress.
        timeouts: How long to wait for what.
        is_started: Whether ``run`` was called, so that ComfyUI may have the prompt.
    """

    comfy: ComfyUI
    prompt_id: str
    client_id: str
    outputs: Sequence[str]
    titles: Mapping[str, str]
    on_progress: Callable[[Progress], None]
    timeouts: Timeouts
    is_started: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._progress = Progress()
        self._connected = False
        self._news = asyncio.Event()
        self._moved = time.monotonic()
        self._unreached_since: float | None = None
        self._is_accepted = False
        self._has_begun = False  # As far as is known: nothing else is in the queue when it is posted.

    async def run(self, prompt: Mapping[str, Any]) -> Outcome:
        """Queue the prompt and wait for its outcome. Canceled, it leaves the prompt in ComfyUI: call ``stop`` then."""
        self.is_started = True
        first_try = asyncio.Event()
        listening = asyncio.create_task(self._listen(first_try))
        try:
            with suppress(asyncio.TimeoutError):  # Without a websocket, only the first progress is missed.
                await asyncio.wait_for(first_try.wait(), _CONNECT_SECONDS)
            await self._post(prompt)
            return read_outcome(await self._wait_for_history(), self.outputs, self.titles)
        except OutcomeError as error:
            return error.outcome
        except UnexpectedAnswerError as error:
            return outcome_of(error, has_begun=self._is_accepted)
        finally:
            await cancel(listening)

    async def stop(self) -> bool:
        """Remove the prompt from ComfyUI. Returns False when ComfyUI still has it, because it is stuck."""
        if not self.is_started:
            return True
        deadline = time.monotonic() + self.timeouts.stop
        while True:
            try:
                await self.comfy.interrupt(self.prompt_id)
                running, waiting, _ = await self.comfy.queue()
                if self.prompt_id not in running | waiting:
                    return True
            except UnreachableError as error:
                if error.connection_refused:  # Its process is gone.
                    return True
            except UnexpectedAnswerError:
                pass
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(self.timeouts.stop_again)  # The flag is cleared when a prompt starts: set it again.

    async def forget(self) -> None:
        """Free the memory that ComfyUI's history takes."""
        if self.is_started:
            with suppress(UnreachableError, UnexpectedAnswerError):
                await self.comfy.forget(self.prompt_id)

    async def _post(self, prompt: Mapping[str, Any]) -> None:
        """Queue it. Raises OutcomeError when ComfyUI does not accept it, or accepts it without its outputs."""
        while True:
            posting = asyncio.ensure_future(self.comfy.post_prompt(prompt, self.prompt_id, self.client_id))
            try:
                status, answer = await asyncio.shield(posting)
                break
            except asyncio.CancelledError:
                # It may be accepted only now: whoever stops it must find it in the queue.
                await asyncio.wait({posting}, timeout=_ACCEPTED_SECONDS)
                await cancel(posting)
                raise
            except UnreachableError as error:
                await self._wait_unreached(error)
                entry, running, waiting, _ = await self._poll()
                if entry is not None or self.prompt_id in running | waiting:  # Some versions run a repeated id twice.
                    self._is_accepted = self._has_begun = True
                    return
        if status == 400:
            raise OutcomeError(rejection(answer, self.titles))
        self._is_accepted = self._has_begun = True
        failure = dropped(answer, self.titles, self.outputs)
        if failure is not None:
            await self.stop()  # The rest of it is of no use.
            raise OutcomeError(replace(failure, is_final=False))

    async def _poll(self) -> tuple[dict[str, Any] | None, dict[str, str], dict[str, str], str | None]:
        """Its history entry if it has ended, and what ``ComfyUI.queue`` returns. Asks until ComfyUI answers."""
        while True:
            try:
                running: dict[str, str] = {}
                waiting: dict[str, str] = {}
                waits_for_task: str | None = None
                entry = await self.comfy.history(self.prompt_id)
                if entry is None:
                    running, waiting, waits_for_task = await self.comfy.queue()
                    # From queue to history it goes in one step, so the history is asked once more.
                    if self.prompt_id not in running | waiting:
                        entry = await self.comfy.history(self.prompt_id)
            except UnreachableError as error:
                await self._wait_unreached(error)
            else:
                self._unreached_since = None
                return entry, running, waiting, waits_for_task

    async def _wait_for_history(self) -> dict[str, Any]:
        """Wait until it has ended. Returns its history entry."""
        stalled_since: float | None = None
        self._moved = time.monotonic()
        while True:
            self._news.clear()
            entry, running, waiting, waits_for_task = await self._poll()
            if entry is not None:
                return entry
            if self.prompt_id not in running | waiting:
                reason = "ComfyUI was restarted and has lost the prompt"
                raise OutcomeError(Requeued(reason, has_died=self._has_begun))
            self._has_begun = self.prompt_id in running
            now = time.monotonic()
            stalled_since = None if running else stalled_since or now
            if stalled_since is not None and now - stalled_since > self.timeouts.queue_stall:
                reason = "ComfyUI answers, but does not begin what is in its queue"
                raise OutcomeError(Requeued(reason, is_attempt=False))
            if self.prompt_id in waiting and waits_for_task is not None:
                # Perhaps for this very task: without it, the miner can say so.
                await self.stop()
                raise OutcomeError(Requeued(WAITS_FOR_TASK, is_attempt=False, is_fit=True))
            if self.prompt_id in waiting:
                self._moved = now
            elif now - self._moved > self.timeouts.progress_stall:
                minutes = self.timeouts.progress_stall / 60
                raise OutcomeError(Requeued(f"ComfyUI answers, but nothing moved for {minutes:.0f} minutes"))
            await self._wait()

    async def _wait(self) -> None:
        """Wait until the websocket reports an end or is lost, or it is time to poll."""
        seconds = self.timeouts.poll if self._connected else self.timeouts.poll_without_ws
        if self._progress.ended:  # The history is a moment behind.
            await asyncio.sleep(min(seconds, 0.02))
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    async def _wait_unreached(self, error: UnreachableError) -> None:
        now = time.monotonic()
        self._unreached_since = self._unreached_since or now
        longest = self.timeouts.connection_refused if error.connection_refused else self.timeouts.no_response
        if now - self._unreached_since > longest:
            has_died = self._has_begun and error.connection_refused
            raise OutcomeError(Requeued(error.what, is_attempt=self._is_accepted, has_died=has_died)) from error
        await asyncio.sleep(min(self.timeouts.poll_without_ws, longest / 4))

    async def _listen(self, first_try: asyncio.Event) -> None:
        while True:
            try:
                async with self.comfy.websocket(self.client_id) as socket:
                    self._connected = True
                    first_try.set()
                    async for message in socket:
                        self._read(message)
            except (UnreachableError, UnexpectedAnswerError):
                pass
            self._connected = False
            self._news.set()
            first_try.set()
            await asyncio.sleep(self.timeouts.poll_without_ws)

    def _read(self, message: aiohttp.WSMessage) -> None:
        if message.type == aiohttp.WSMsgType.TEXT:
            changed = self._progress.read_text(message.data, self.prompt_id)
        elif message.type == aiohttp.WSMsgType.BINARY:
            changed = self._progress.read_bytes(message.data)
        else:
            return
        if changed:
            self._moved = time.monotonic()
            self.on_progress(self._progress)
        if self._progress.ended:
            self._news.set()


def read_outcome(history: Mapping[str, Any], outputs: Sequence[str], titles: Mapping[str, str]) -> Outcome:
    """How a prompt ended, from its entry in the history. ``titles`` are the nodes' by id."""
    status = history.get("status")
    if not isinstance(status, dict) or status.get("status_str") == "success":
        batches = output_files(history, outputs)
        if batches:
            return Finished(batches)
        return WorkflowFailure("The workflow ended without a file", outputs[0], titles.get(outputs[0], ""))
    messages = status.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        event, data = message if isinstance(message, list) and len(message) == 2 else ("", {})
        if event == "execution_interrupted":
            return Requeued("Somebody stopped the prompt in ComfyUI")
        if event == "execution_error" and isinstance(data, dict):
            reason = data.get("exception_message")
            is_final = not is_out_of_memory(f"{data.get('exception_type')} {reason}")
            return WorkflowFailure.at(data.get("node_id"), data.get("node_type"), reason, titles, is_final=is_final)
    return WorkflowFailure("ComfyUI gave no reason")


def output_files(history: Mapping[str, Any], outputs: Iterable[str]) -> list[list[dict[str, str]]]:
    """The files of each output node, as ``/view`` expects them; saved files come before temporary ones.

    A node may report files under any name: SaveVideo does so under "images", others under "gifs".
    """
    reported = history.get("outputs")
    batches: dict[tuple[bool, str], list[dict[str, str]]] = {}
    for node_id in outputs:
        by_name = reported.get(node_id) if isinstance(reported, dict) else None
        for items in by_name.values() if isinstance(by_name, dict) else ():
            for file in items if isinstance(items, list) else ():
                if isinstance(file, dict) and isinstance(file.get("filename"), str):
                    kind = str(file.get("type") or "output")
                    batches.setdefault((kind != "output", node_id), []).append(
                        {
                            "filename": file["filename"],
                            "subfolder": str(file.get("subfolder") or ""),
                            "type": kind,
                        }
                    )
    return [batches[key] for key in sorted(batches, key=lambda key: key[0])]


def rejection(answer: Mapping[str, Any], titles: Mapping[str, str]) -> WorkflowFailure:
    """Why ComfyUI did not accept a prompt."""
    if failures := list(_node_failures(answer, titles, None)):
        return failures[0]
    error = answer.get("error")
    reason = _reason(error) if isinstance(error, dict) else one_line(str(error or "ComfyUI gave no reason"))
    return WorkflowFailure(reason, is_final=False)


def dropped(answer: Mapping[str, Any], titles: Mapping[str, str], outputs: Iterable[str]) -> WorkflowFailure | None:
    """Why ComfyUI accepted a prompt without the nodes ``outputs``; None when it runs those."""
    return next(_node_failures(answer, titles, set(outputs)), None)


def _node_failures(
    answer: Mapping[str, Any], titles: Mapping[str, str], outputs: set[str] | None
) -> Iterator[WorkflowFailure]:
    node_errors = answer.get("node_errors")
    for node_id, error in (node_errors if isinstance(node_errors, dict) else {}).items():
        if not isinstance(error, dict):
            continue
        dependent = error.get("dependent_outputs")
        if outputs is not None and isinstance(dependent, list) and outputs.isdisjoint(map(str, dependent)):
            continue
        reasons = [_reason(reason) for reason in error.get("errors") or [] if isinstance(reason, dict)]
        yield WorkflowFailure.at(node_id, error.get("class_type"), "; ".join(reasons), titles, is_final=False)


def _reason(error: Mapping[str, Any]) -> str:
    parts = [str(error.get(name)) for name in ("message", "details") if error.get(name)]
    return one_line(": ".join(dict.fromkeys(parts)), 500)
