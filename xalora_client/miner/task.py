"""One task, in stages that take values and return values: fetch its inputs, run its workflow, deliver its result."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import (
    APIStatusError,
    InvalidParameterError,
    MediaTooLargeError,
    RequestTimeoutError,
    StorageError,
    XaloraError,
    one_line,
)
from ..media.decoding.formats import PNG, SNIFF_BYTES, sniff
from ..protocol.answers import MORE_FILES
from ..protocol.miner import LARGEST_INPUT, Assignment
from ..workflows import CheckedWorkflow
from .comfyui import ComfyUI
from .errors import OutcomeError, Requeued, UnexpectedAnswerError, UnreachableError, WorkflowFailure, outcome_of
from .prompt import Finished, PromptRun
from .sequencer_api import SequencerAPI

_LATE_UPLOADS = 3
"""A sequencer that is away is waited for; one that takes the result and hardly answers is not, after so many times."""

_DOWNLOADS = 4
"""How often ComfyUI is asked for a file that it has made."""

Retry: TypeAlias = Callable[..., Awaitable[Any]]
"""Repeats a request while its errors are transient, for as long as that makes sense, at most ``tries`` times where that
is given, and returns the answer."""


@dataclass(frozen=True)
class Delivered:
    """The sequencer has the result.

    Attributes:
        keys: Its name there, or those of several.
        run_seconds: How long the workflow ran.
        upload_seconds: How long the copy from ComfyUI to the sequencer took.
        remark: A note for the consumer, such as that more files were made.
    """

    keys: tuple[str, ...]
    run_seconds: float
    upload_seconds: float
    remark: str = ""


TaskOutcome: TypeAlias = Delivered | WorkflowFailure | Requeued


async def run_stages(
    task: Assignment,
    workflow: CheckedWorkflow,
    run: PromptRun,
    comfy: ComfyUI,
    api: SequencerAPI,
    retry: Retry,
    retry_input: Retry,
) -> TaskOutcome:
    """Run a task: fetch its inputs, run its workflow, deliver its result. Whatever goes wrong becomes an outcome."""
    try:
        values = await fetch_inputs(task, workflow.capability.images, comfy, api, retry_input)
        prompt = workflow.prompt(values, run=task.prompt_id)
        started = time.monotonic()
        outcome = await run.run(prompt)
        if isinstance(outcome, Finished):
            return await deliver(task, outcome, time.monotonic() - started, run, api, retry)
        return outcome
    except OutcomeError as error:
        return error.outcome
    except InvalidParameterError as error:
        return WorkflowFailure(one_line(str(error), 1000), summary="a value is not allowed")
    except UnreachableError as error:
        return Requeued(error.what, is_attempt=run.is_started)
    except UnexpectedAnswerError as error:
        return outcome_of(error, has_begun=run.is_started)
    except StorageError as error:
        return WorkflowFailure(error.what, summary=error.what, is_final=False)
    except XaloraError as error:
        return Requeued(error.what, is_fit=True)
    except OSError as error:
        reason = f"The miner's disk failed: {error.strerror}"
        return WorkflowFailure(reason, summary=reason, is_final=False)
    except Exception as error:  # noqa: BLE001 - what a sequencer or a ComfyUI sends must not end the miner
        return Requeued(f"The miner failed with {type(error).__name__}")


async def fetch_inputs(
    task: Assignment, images: Set[str], comfy: ComfyUI, api: SequencerAPI, retry: Retry
) -> dict[str, Any]:
    """Copy the task's inputs to ComfyUI. Returns its parameters, where an image is ComfyUI's name of the file.

    ``images`` are the parameters that are images. Only an input can be one: a name or an address could be that of any
    file of this machine. Raises OutcomeError for one that is too large or cannot be had, and for what is none.
    """
    values = dict(task.parameters)
    if wrong := [name for name in [*values, *task.inputs] if (name in images) != (name in task.inputs)]:
        reason = f"{one_line(wrong[0], 60)} must be an image that the sequencer has, not a name or an address"
        raise OutcomeError(WorkflowFailure(reason, summary="an image that is no input"))
    for name, file in task.inputs.items():
        if file.size is not None and file.size > LARGEST_INPUT:
            raise OutcomeError(WorkflowFailure(f"{name} is larger than {LARGEST_INPUT // 2**20} MiB"))
        try:
            content = await retry(partial(api.fetch, file))
        except XaloraError as error:
            reason = f"{name} cannot be had from the sequencer: {error.what}"
            raise OutcomeError(WorkflowFailure(reason, summary=reason, is_final=False)) from error
        # Named by content, so that the same image is stored once. What the sequencer says of its type may be anything.
        found = sniff(content[:SNIFF_BYTES]) or PNG
        stored = f"xalora-{hashlib.sha256(content).hexdigest()[:32]}{found.extension}"
        try:
            values[name] = await comfy.upload(content, stored, found.mime_type)
        except UnexpectedAnswerError as error:
            if error.status != 413:
                raise
            reason = f"{name} has {len(content) / 1e6:.0f} MB, more than this ComfyUI accepts"
            advice = "start it with a larger --max-upload-size"
            raise OutcomeError(WorkflowFailure(f"{reason}: {advice}", is_final=False)) from error
    return values


async def deliver(
    task: Assignment, finished: Finished, run_seconds: float, run: PromptRun, api: SequencerAPI, retry: Retry
) -> Delivered:
    """Copy the result from ComfyUI to the sequencer, or all pictures of a batch, as far as it takes them.

    Raises OutcomeError when the first is not given or refused.
    """
    started, late = time.monotonic(), 0
    keys: list[str] = []

    async def upload() -> str:
        nonlocal late
        try:
            key = await api.upload(task.upload_url, path)
            late = 0
            return key
        except RequestTimeoutError as error:
            late += error.sent != "no"
            if late == _LATE_UPLOADS:
                raise OutcomeError(Requeued(f"The result cannot be delivered: {error.what}", is_fit=True)) from error
            raise
        except APIStatusError as error:
            if error.code != "proxy_limit" or keys:
                raise
            # The work is done: while the task may still be delivered, the limit can be raised.
            what = "The result is too large for a proxy before the sequencer: in nginx, set client_max_body_size 2g"
            raise error.derived(what=what, transient=True) from error

    with tempfile.TemporaryDirectory(prefix="xalora-") as folder:
        path = Path(folder) / "result"
        try:
            async for _ in _downloads(finished.batches, task.most_results, path, run, retry):
                keys.append(await retry(upload))
        except MediaTooLargeError as error:
            if not keys:
                raise OutcomeError(WorkflowFailure(error.what)) from error
        except APIStatusError as error:
            if error.code != "proxy_limit" and error.status_code not in (413, 415, 422):
                raise
            if not keys and error.code == "proxy_limit":
                raise OutcomeError(WorkflowFailure(error.what, is_final=False)) from error
            if not keys:
                raise OutcomeError(WorkflowFailure(f"The result was refused: {error.message}")) from error
    made = sum(map(len, finished.batches))
    delivered = "is" if len(keys) == 1 else f"{len(keys)} are"
    remark = f"{made} {MORE_FILES} {delivered} the result, the others are only on the miner"
    seconds = round(run_seconds, 3), round(time.monotonic() - started, 3)
    return Delivered(tuple(keys), *seconds, remark if made > len(keys) else "")


async def _downloads(
    batches: Sequence[Sequence[Mapping[str, str]]], most: int, path: Path, run: PromptRun, retry: Retry
) -> AsyncIterator[None]:
    """Fetch the first of the files that is a picture or video, and after a picture the others of its batch.

    Each is at ``path`` until the next; there are at most ``most``. A node may report a caption before them. Without a
    picture or video, it is the last file: the sequencer says what is wrong with it. Raises OutcomeError when ComfyUI
    answers and gives none, and not all that it names.
    """

    async def download(file: Mapping[str, str]) -> None:
        try:
            await run.comfy.download(file, path)
        except UnexpectedAnswerError as error:
            raise error.derived(transient=True) from error

    missing, count = [], 0
    for batch in batches:
        for file in batch:
            try:
                await retry(partial(download, file), tries=_DOWNLOADS)
            except (UnreachableError, UnexpectedAnswerError) as error:
                await run.comfy.queue()  # Raises when it is not the file but ComfyUI that is gone.
                missing.append(f"{one_line(file['filename'], 200)} cannot be fetched from ComfyUI: {error.what}")
                continue
            with path.open("rb") as stored:
                found = sniff(stored.read(SNIFF_BYTES))
            if found is None or (count and found.kind == "video"):
                continue
            yield
            count += 1
            if found.kind == "video" or count == most:
                return
        if count:
            return
    if missing:
        raise OutcomeError(WorkflowFailure.at(run.outputs[0], "", missing[0], run.titles))
    yield


def submit_fields(outcome: TaskOutcome) -> dict[str, Any]:
    """The fields of a submit that report it, as ``protocol/miner.py`` describes them."""
    match outcome:
        case Delivered():
            latencies = {"inference_latency": outcome.run_seconds, "upload_latency": outcome.upload_seconds}
            several = {"results": outcome.keys} if len(outcome.keys) > 1 else {}
            return {"success": True, "result": outcome.keys[0], "msg": outcome.remark} | several | latencies
        case WorkflowFailure():
            failure = {"msg": str(outcome), "error": outcome.to_json()}
            return failure if outcome.is_final else failure | {"give_back": "unable"}
        case Requeued():
            return {"give_back": outcome.kind, "msg": outcome.reason}


def log_line(outcome: TaskOutcome) -> str:
    """What the log says of it, with nothing of the task's values: ComfyUI's own words may contain the prompt."""
    match outcome:
        case Delivered():
            return "done"
        case WorkflowFailure():
            return f"failed: {outcome.summary}" if outcome.summary else f"failed. {outcome.where}".rstrip(". ")
        case Requeued():
            return f"returned to the queue. {outcome.reason}"
