"""One prompt on one ComfyUI, from the queue to its end.

The websocket says quickly what happens; the history is the truth. So a lost websocket loses no prompt, and a prompt
that is in neither queue nor history was lost with its ComfyUI.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import aiohttp

from ..errors import one_line
from .comfyui import ComfyUI
from .errors import UnexpectedAnswerError, UnreachableError, WorkflowFailure
from .progress import Progress
from .timeouts import Timeouts

_ACCEPTED_SECONDS = 10.0
_CONNECT_SECONDS = 3.0


@dataclass(frozen=True)
class Finished:
    """The prompt ran. ``files`` are those of its output nodes, as ``/view`` takes them: at least one."""

    files: list[dict[str, str]]


@dataclass(frozen=True)
class Failed:
    """The workflow does not work with these values. ``summary`` is for the log: it has nothing of them."""

    failure: WorkflowFailure
    summary: str = ""


@dataclass(frozen=True)
class Lost:
    """The prompt or its ComfyUI is gone, or gives no answer: another attempt may do better.

    ``begun`` says whether ComfyUI may have worked on it.
    """

    reason: str
    begun: bool = True


Outcome: TypeAlias = Finished | Failed | Lost


class PromptRun:
    """One run of a prompt. ``on_progress`` is called after each change of its progress."""

    def __init__(
        self,
        comfy: ComfyUI,
        prompt_id: str,
        client_id: str,
        outputs: Sequence[str],
        titles: Mapping[str, str],
        on_progress: Callable[[Progress], None],
        timeouts: Timeouts,
    ) -> None:
        self._comfy = comfy
        self._id = prompt_id
        self._client_id = client_id
        self._outputs = outputs
        self._titles = titles
        self._on_progress = on_progress
        self._timeouts = timeouts
        self._progress = Progress()
        self._connected = False
        self._news = asyncio.Event()
        self._moved = time.monotonic()
        self._unreached_since: float | None = None
        self._begun = False
        self.is_started = False
        """Whether ``run`` was called, so that ComfyUI may have the prompt."""

    async def run(self, prompt: Mapping[str, Any]) -> Outcome:
        """Queue the prompt and wait for its end. Canceled, it leaves the prompt where it is: call ``stop`` then."""
        self.is_started = True
        first_try = asyncio.Event()
        listening = asyncio.create_task(self._listen(first_try))
        try:
            with suppress(asyncio.TimeoutError):  # Without it, the beginning is not seen, but the end is.
                await asyncio.wait_for(first_try.wait(), _CONNECT_SECONDS)
            if (failure := await self._post(prompt)) is not None:
                return Failed(failure)
            return read_outcome(await self._end(), self._outputs, self._titles)
        except _LostError as error:
            return error.outcome
        except UnexpectedAnswerError as error:  # What ComfyUI refuses once it may refuse forever.
            return Lost(error.what)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def stop(self) -> bool:
        """Take the prompt out of ComfyUI. Returns whether it is rid of it; it may be stuck."""
        if not self.is_started:
            return True
        deadline = time.monotonic() + self._timeouts.stop
        while True:
            try:
                await self._comfy.interrupt(self._id)
                running, waiting = await self._comfy.queue()
                if self._id not in running + waiting:
                    return True
            except UnreachableError as error:
                if error.refused:  # Its process is gone.
                    return True
            except UnexpectedAnswerError:
                pass
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(self._timeouts.stop_again)  # The flag is cleared when a prompt starts: set it again.

    async def forget(self) -> None:
        """Free the memory that ComfyUI's history takes."""
        if self.is_started:
            with suppress(UnreachableError, UnexpectedAnswerError):
                await self._comfy.forget(self._id)

    async def _post(self, prompt: Mapping[str, Any]) -> WorkflowFailure | None:
        """Queue it. Returns why ComfyUI does not take it, or takes it without its outputs."""
        while True:
            posting = asyncio.ensure_future(self._comfy.post_prompt(prompt, self._id, self._client_id))
            try:
                status, answer = await asyncio.shield(posting)
            except asyncio.CancelledError:
                # It may be accepted only now: whoever stops it must find it in the queue.
                await asyncio.wait({posting}, timeout=_ACCEPTED_SECONDS)
                posting.cancel()
                await asyncio.gather(posting, return_exceptions=True)
                raise
            except UnreachableError as error:
                await self._wait_unreached(error)
                if await self._is_there():
                    return None
                continue
            if status == 400:
                return rejection(answer, self._titles)
            self._begun = True
            failure = dropped(answer, self._titles, self._outputs)
            if failure is not None:
                await self.stop()  # The rest of it is of no use.
            return failure

    async def _is_there(self) -> bool:
        """Whether ComfyUI has the prompt, asked until it answers: some versions run a repeated id twice."""
        while True:
            try:
                running, waiting = await self._comfy.queue()
                found = self._id in running + waiting or await self._comfy.history(self._id) is not None
            except UnreachableError as error:
                await self._wait_unreached(error)
            else:
                self._unreached_since = None
                self._begun = self._begun or found
                return found

    async def _end(self) -> dict[str, Any]:
        """Wait for its end. Returns its history entry."""
        stalled_since: float | None = None
        self._moved = time.monotonic()
        while True:
            self._news.clear()
            try:
                entry = await self._comfy.history(self._id)
                if entry is not None:
                    return entry
                running, waiting = await self._comfy.queue()
                # From queue to history it goes in one step, so it is looked for there once more.
                if self._id not in running + waiting:
                    entry = await self._comfy.history(self._id)
                    if entry is not None:
                        return entry
                    raise _LostError("ComfyUI was restarted and has lost the prompt")
            except UnreachableError as error:
                await self._wait_unreached(error)
                continue
            self._unreached_since = None
            now = time.monotonic()
            stalled_since = None if running else stalled_since or now
            if stalled_since is not None and now - stalled_since > self._timeouts.queue_stall:
                raise _LostError("ComfyUI answers, but does not begin what is in its queue", begun=False)
            if self._id in waiting:
                self._moved = now
            elif now - self._moved > self._timeouts.progress_stall:
                minutes = self._timeouts.progress_stall / 60
                raise _LostError(f"ComfyUI answers, but nothing moved for {minutes:.0f} minutes")
            await self._wait()

    async def _wait(self) -> None:
        """Until there is news of an end or of the connection, or it is time to poll."""
        seconds = self._timeouts.poll if self._connected else self._timeouts.poll_without_ws
        if self._progress.ended:  # The history is a moment behind.
            seconds = min(seconds, 0.02)
            await asyncio.sleep(seconds)
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    async def _wait_unreached(self, error: UnreachableError) -> None:
        now = time.monotonic()
        self._unreached_since = self._unreached_since or now
        longest = self._timeouts.connection_refused if error.refused else self._timeouts.no_response
        if now - self._unreached_since > longest:
            raise _LostError(error.what, begun=self._begun) from error
        await asyncio.sleep(min(self._timeouts.poll_without_ws, longest / 4))

    async def _listen(self, first_try: asyncio.Event) -> None:
        while True:
            try:
                async with self._comfy.websocket(self._client_id) as socket:
                    self._connected = True
                    first_try.set()
                    async for message in socket:
                        self._read(message)
            except (UnreachableError, UnexpectedAnswerError):
                pass
            self._connected = False
            self._news.set()
            first_try.set()
            await asyncio.sleep(self._timeouts.poll_without_ws)

    def _read(self, message: aiohttp.WSMessage) -> None:
        if message.type == aiohttp.WSMsgType.TEXT:
            changed = self._progress.read_text(message.data, self._id)
        elif message.type == aiohttp.WSMsgType.BINARY:
            changed = self._progress.read_bytes(message.data)
        else:
            return
        if changed:
            self._moved = time.monotonic()
            self._on_progress(self._progress)
        if self._progress.ended:
            self._news.set()


class _LostError(Exception):
    """Ends ``PromptRun.run`` with this outcome."""

    def __init__(self, reason: str, *, begun: bool = True) -> None:
        super().__init__(reason)
        self.outcome = Lost(reason, begun)


def read_outcome(entry: Mapping[str, Any], outputs: Sequence[str], titles: Mapping[str, str]) -> Outcome:
    """How a prompt ended, from its history entry. ``titles`` are the nodes' by id."""
    status = entry.get("status")
    if not isinstance(status, dict) or status.get("status_str") == "success":
        files = output_files(entry, outputs)
        if files:
            return Finished(files)
        return Failed(WorkflowFailure("The workflow ended without a file", outputs[0], titles.get(outputs[0], "")))
    for message in reversed(status.get("messages") or []):
        event, data = message if isinstance(message, list) and len(message) == 2 else ("", {})
        if event == "execution_interrupted":
            return Lost("Somebody stopped the prompt in ComfyUI")
        if event == "execution_error" and isinstance(data, dict):
            reason = data.get("exception_message")
            return Failed(WorkflowFailure.at(data.get("node_id"), data.get("node_type"), reason, titles))
    return Failed(WorkflowFailure("ComfyUI gave no reason"))


def output_files(entry: Mapping[str, Any], outputs: Iterable[str]) -> list[dict[str, str]]:
    """The files of the output nodes, as ``/view`` takes them; those that are kept before temporary ones.

    A node may report files under any name: SaveVideo does so under "images", others under "gifs".
    """
    reported = entry.get("outputs")
    files = []
    for node_id in outputs:
        by_name = reported.get(node_id) if isinstance(reported, dict) else None
        for items in by_name.values() if isinstance(by_name, dict) else ():
            for file in items if isinstance(items, list) else ():
                if isinstance(file, dict) and isinstance(file.get("filename"), str):
                    files.append(
                        {
                            "filename": file["filename"],
                            "subfolder": str(file.get("subfolder") or ""),
                            "type": str(file.get("type") or "output"),
                        }
                    )
    return sorted(files, key=lambda file: file["type"] != "output")


def rejection(answer: Mapping[str, Any], titles: Mapping[str, str]) -> WorkflowFailure:
    """Why ComfyUI did not take a prompt."""
    if failures := list(_node_failures(answer, titles, None)):
        return failures[0]
    error = answer.get("error")
    return WorkflowFailure(
        _reason(error) if isinstance(error, dict) else one_line(str(error or "ComfyUI gave no reason"))
    )


def dropped(answer: Mapping[str, Any], titles: Mapping[str, str], outputs: Iterable[str]) -> WorkflowFailure | None:
    """Why ComfyUI took a prompt without the nodes ``outputs``; None when it runs those."""
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
        yield WorkflowFailure.at(node_id, error.get("class_type"), "; ".join(reasons), titles)


def _reason(error: Mapping[str, Any]) -> str:
    parts = [str(error.get(name)) for name in ("message", "details") if error.get(name)]
    return one_line(": ".join(dict.fromkeys(parts)), 500)
