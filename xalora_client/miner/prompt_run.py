"""One prompt on one ComfyUI, from the queue to its end.

The websocket says quickly what happens; the history is the truth. So a lost websocket loses no prompt, and a prompt
that is in neither queue nor history was lost with its ComfyUI.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp

from .comfyui import ComfyUI
from .ends import PromptLostError, UnexpectedAnswerError, UnreachableError, WorkflowFailedError
from .progress import Progress
from .results import check_end, dropped, refusal
from .times import Times

_ACCEPTED_SECONDS = 10.0
_CONNECT_SECONDS = 3.0


class PromptRun:
    """``progress`` is filled while ``run`` runs, and ``on_progress`` called after each change."""

    def __init__(
        self,
        comfy: ComfyUI,
        prompt: Mapping[str, Any],
        prompt_id: str,
        client_id: str,
        outputs: Sequence[str],
        titles: Mapping[str, str],
        on_progress: Callable[[Progress], None],
        times: Times,
    ) -> None:
        self._comfy = comfy
        self._prompt = prompt
        self._id = prompt_id
        self._client_id = client_id
        self._outputs = outputs
        self._titles = dict(titles)
        self._on_progress = on_progress
        self._times = times
        self._progress = Progress()
        self._connected = False
        self._news = asyncio.Event()
        self._moved = time.monotonic()
        self._unreached_since: float | None = None
        self._begun = False

    async def run(self) -> dict[str, Any]:
        """Queue the prompt and wait for its end. Returns its history entry.

        Raises WorkflowFailedError when it cannot work, PromptLostError when another attempt may. Canceled, it leaves
        the prompt where it is: call ``stop`` then.
        """
        first_try = asyncio.Event()
        listening = asyncio.create_task(self._listen(first_try))
        try:
            with suppress(asyncio.TimeoutError):  # Without it, the beginning is not seen, but the end is.
                await asyncio.wait_for(first_try.wait(), _CONNECT_SECONDS)
            await self._post()
            entry = await self._end()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
        check_end(entry, self._titles)
        return entry

    async def stop(self) -> bool:
        """Take the prompt out of ComfyUI. Returns whether it is rid of it; it may be stuck."""
        deadline = time.monotonic() + self._times.stop
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
            await asyncio.sleep(self._times.stop_again)  # The flag is cleared when a prompt starts: set it again.

    async def _post(self) -> None:
        while True:
            posting = asyncio.ensure_future(self._comfy.post_prompt(self._prompt, self._id, self._client_id))
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
                    return
                continue
            if status == 400:
                raise WorkflowFailedError(refusal(answer, self._titles))
            self._begun = True
            if failure := dropped(answer, self._titles, self._outputs):
                await self.stop()  # The rest of it is of no use.
                raise WorkflowFailedError(failure)
            return

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
        untaken_since: float | None = None
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
                    raise PromptLostError("ComfyUI was restarted and has lost the prompt")
            except UnreachableError as error:
                await self._wait_unreached(error)
                continue
            self._unreached_since = None
            now = time.monotonic()
            untaken_since = None if running else untaken_since or now
            if untaken_since is not None and now - untaken_since > self._times.untaken:
                raise PromptLostError("ComfyUI answers, but does not begin what is in its queue", begun=False)
            if self._id in waiting:
                self._moved = now
            elif now - self._moved > self._times.unmoved:
                raise PromptLostError(f"ComfyUI answers, but nothing moved for {self._times.unmoved / 60:.0f} minutes")
            await self._wait()

    async def _wait(self) -> None:
        """Until there is news of an end or of the connection, or it is time to look."""
        seconds = self._times.look if self._connected else self._times.look_alone
        if self._progress.ended:  # The history is a moment behind.
            seconds = min(seconds, 0.02)
            await asyncio.sleep(seconds)
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)

    async def _wait_unreached(self, error: UnreachableError) -> None:
        now = time.monotonic()
        self._unreached_since = self._unreached_since or now
        longest = self._times.refused if error.refused else self._times.silent
        if now - self._unreached_since > longest:
            raise PromptLostError(error.what, begun=self._begun) from error
        await asyncio.sleep(min(self._times.look_alone, longest / 4))

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
            await asyncio.sleep(self._times.look_alone)

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
