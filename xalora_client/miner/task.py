"""One task, in stages that take values and return values: fetch its inputs, run its workflow, deliver its result."""

from __future__ import annotations

import hashlib
import mimetypes
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import APIStatusError, InvalidParameterError, MediaTooLargeError, XaloraError, one_line
from ..protocol.miner import LARGEST_INPUT, Assignment
from ..workflows import CheckedWorkflow
from .comfyui import ComfyUI
from .errors import UnexpectedAnswerError, UnreachableError, WorkflowFailedError, WorkflowFailure
from .prompt import Failed, Finished, Lost, PromptRun
from .sequencer_api import SequencerAPI

Retry: TypeAlias = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Repeats a request until the sequencer answers, for as long as that is of use, and returns the answer."""


@dataclass(frozen=True)
class Delivered:
    """The sequencer has the result.

    Attributes:
        key: What it is called there.
        run_seconds: How long the workflow ran.
        upload_seconds: How long the result took from ComfyUI to the sequencer.
        remark: A note for the consumer, such as that more files were made.
    """

    key: str
    run_seconds: float
    upload_seconds: float
    remark: str = ""


@dataclass(frozen=True)
class GivenBack:
    """The task goes to another miner. "lost" counts as one of its attempts, "stopping" does not."""

    reason: str
    how: Literal["lost", "stopping"] = "lost"


TaskOutcome: TypeAlias = Delivered | Failed | Lost | GivenBack


async def run_stages(
    task: Assignment, workflow: CheckedWorkflow, run: PromptRun, comfy: ComfyUI, api: SequencerAPI, retry: Retry
) -> TaskOutcome:
    """Take a task through its stages. Whatever goes wrong becomes an outcome."""
    try:
        values = await fetch_inputs(task, comfy, api, retry)
        prompt = workflow.prompt(values, run=task.prompt_id)
        began = time.monotonic()
        outcome = await run.run(prompt)
        if isinstance(outcome, Finished):
            return await deliver(task, outcome, time.monotonic() - began, comfy, api, retry)
        return outcome
    except WorkflowFailedError as error:
        return Failed(error.failure)
    except InvalidParameterError as error:
        return Failed(WorkflowFailure(one_line(str(error), 1000)), "a value is not allowed")
    except UnreachableError as error:
        return Lost(error.what, begun=run.is_started)
    except UnexpectedAnswerError as error:  # What ComfyUI refuses once it may refuse forever.
        return Lost(error.what)
    except XaloraError as error:
        return GivenBack(error.what)
    except OSError as error:
        return GivenBack(f"The miner's disk failed: {error.strerror}")


async def fetch_inputs(task: Assignment, comfy: ComfyUI, api: SequencerAPI, retry: Retry) -> dict[str, Any]:
    """Bring the task's inputs to ComfyUI. Returns its parameters, where an input is ComfyUI's name of the file.

    Raises WorkflowFailedError for an input that is too large.
    """
    values = dict(task.parameters)
    for name, file in task.inputs.items():
        if file.size is not None and file.size > LARGEST_INPUT:
            raise WorkflowFailedError(WorkflowFailure(f"{name} is larger than {LARGEST_INPUT // 2**20} MiB"))
        content = await retry(partial(api.fetch, file))
        # Named by content, so that the same image is stored once.
        suffix = mimetypes.guess_extension(file.content_type) or ".png"
        stored = f"xalora-{hashlib.sha256(content).hexdigest()[:32]}{suffix}"
        try:
            values[name] = await comfy.upload(content, stored, file.content_type)
        except UnexpectedAnswerError as error:
            if error.status != 413:
                raise
            size = f"{name} has {len(content) / 1e6:.0f} MB, more than this ComfyUI takes"
            raise WorkflowFailedError(WorkflowFailure(f"{size}: start it with a larger --max-upload-size")) from error
    return values


async def deliver(
    task: Assignment, finished: Finished, run_seconds: float, comfy: ComfyUI, api: SequencerAPI, retry: Retry
) -> Delivered:
    """Bring the result from ComfyUI to the sequencer. Raises WorkflowFailedError where it is refused."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="xalora-") as folder:
        path = Path(folder) / "result"
        try:
            await comfy.download(finished.files[0], path)
            key = await retry(partial(api.upload, task.upload_url, path))
        except MediaTooLargeError as error:
            raise WorkflowFailedError(WorkflowFailure(error.what)) from error
        except APIStatusError as error:
            if error.status_code not in (413, 415, 422):
                raise
            raise WorkflowFailedError(WorkflowFailure(f"The result was refused: {error.message}")) from error
    count = len(finished.files)
    remark = "" if count == 1 else f"{count} files were made; the first is the result"
    return Delivered(key, round(run_seconds, 3), round(time.monotonic() - began, 3), remark)


def submit_fields(outcome: TaskOutcome) -> dict[str, Any]:
    """What the sequencer is told: fields of a ``SubmitRequest``."""
    match outcome:
        case Delivered():
            latencies = {"inference_latency": outcome.run_seconds, "upload_latency": outcome.upload_seconds}
            return {"success": True, "result": outcome.key, "msg": outcome.remark} | latencies
        case Failed():
            return {"msg": str(outcome.failure), "error": outcome.failure.to_json()}
        case Lost():
            return {"give_back": "lost" if outcome.begun else "stopping", "msg": outcome.reason}
        case GivenBack():
            return {"give_back": outcome.how, "msg": outcome.reason}


def log_line(outcome: TaskOutcome) -> str:
    """How it ended, with nothing of the task's values: ComfyUI's own words may contain the prompt."""
    match outcome:
        case Delivered():
            return "done"
        case Failed(failure, summary):
            return f"failed: {summary}" if summary else f"failed. {failure.where}".rstrip(". ")
        case Lost() | GivenBack():
            return f"given back. {outcome.reason}"
