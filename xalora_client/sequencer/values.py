"""What goes into the task queue and what comes out of it: plain values, the same for every engine behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..workflows import WorkflowKey


@dataclass(frozen=True, kw_only=True)
class NewTask:
    """A task to create.

    Attributes:
        workflow: What it needs.
        details: All of its ``task_details``, but for the bytes in long ``data:`` URIs.
        inputs: The files of the parameters that are images; None for those whose bytes are to be fetched.
        timeout_seconds: Within how many seconds from now it must end, or None.
        owner: Who creates it, as ``TaskQueue.owner`` gives it.
        consumer_id: With which consumer.
        job_id: With which job id.
        priority: Among the tasks of its owner that wait, higher ones come first.
    """

    workflow: WorkflowKey
    details: Mapping[str, Any]
    inputs: Mapping[str, InputFile | None]
    timeout_seconds: int | None
    owner: bytes
    consumer_id: str
    job_id: str
    priority: int = 0


@dataclass(frozen=True)
class CreateOutcome:
    """What became of a create.

    Attributes:
        task_id: The task.
        is_new: False when the job id was known: this is the task that it created then.
        why_waiting: Why no miner takes it now; None where one does or will.
    """

    task_id: str
    is_new: bool
    why_waiting: str | None = None


@dataclass(frozen=True)
class TaskView:
    """A task as its owner sees it. What has no value (yet) is None.

    Attributes:
        task_id: The task.
        status: "waiting", "running", "finished", "failed" or "canceled".
        task_type: Its kind.
        task_details: Without bodies of long ``data:`` URIs and signatures of links.
        create_timestamp: Unix seconds.
        inference_latency: Seconds.
        upload_latency: Seconds.
        timeout_seconds: As it was created with.
        workflow_id: Its workflow among those of its kind.
        media: The name in the address of its result, or of the first of several.
        results: How many it has.
        msg: A note on its end, or why no miner takes it now.
        revision: Grows with each change.
        progress: ``value``, ``maximum``, maybe ``title``, and ``preview`` where it is newer than what was asked for.
        blocked_by: Prompts that keep all miners from taking it, and may wait for it themselves.
    """

    task_id: str
    status: str
    task_type: str
    task_details: Mapping[str, Any]
    create_timestamp: float
    inference_latency: float | None
    upload_latency: float | None
    timeout_seconds: int | None
    workflow_id: str | None
    media: str | None
    results: int
    msg: str | None
    revision: int
    progress: Mapping[str, Any] | None = None
    blocked_by: tuple[str, ...] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("waiting", "running")


@dataclass(frozen=True)
class InputFile:
    """An input that is here: the name of its file, its media type and its size in bytes."""

    file: str
    content_type: str
    size: int


@dataclass(frozen=True)
class InputFetch:
    """A task whose inputs are to be fetched, and its present revision."""

    task_id: str
    owner: bytes
    revision: int


@dataclass(frozen=True)
class LeaseId:
    """The right to one attempt at a task. ``miner`` is who claims to have it; None where an address proves it."""

    task_id: str
    token: str
    miner: str | None = None


@dataclass(frozen=True)
class Attempt:
    """One attempt at a task, for the miner that got it.

    Attributes:
        lease: Its right to the task.
        workflow: What it must run.
        parameters: The task's.
        inputs: Its input files, by parameter.
        number: 1 to 3.
        prompt_id: A UUID of this attempt alone.
        seconds_left: How long the task may still take, or None.
        input_token: For the addresses of its inputs.
        upload_token: For the address of its result.
        is_public: Whether the miner is of the public kind, which never registers.
    """

    lease: LeaseId
    workflow: WorkflowKey
    parameters: Mapping[str, Any]
    inputs: Mapping[str, InputFile]
    number: int
    prompt_id: str
    seconds_left: float | None
    input_token: str
    upload_token: str
    is_public: bool


@dataclass(frozen=True)
class Result:
    """How an attempt finished.

    Attributes:
        file: The file that it uploaded.
        inference_latency: Seconds that the workflow ran, or None.
        upload_latency: Seconds that the upload took, or None.
        msg: A note on it, such as that there were more files.
        media: The name in the result's address. None: one that cannot be guessed.
        more: Where there are several results, the files of the others.
    """

    file: str
    inference_latency: float | None = None
    upload_latency: float | None = None
    msg: str | None = None
    media: str | None = None
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class Occupied:
    """Why a miner does not ask for tasks, and the prompt on its ComfyUI that may itself wait for one."""

    reason: str
    prompt_id: str | None = None


@dataclass(frozen=True)
class MinerView:
    """A miner, for people.

    ``idle_seconds`` have passed since its last request, ``runs`` are its workflows. It is not well after several
    attempts in a row without a result; ``failed`` is how many there were.
    """

    name: str
    is_alive: bool
    is_well: bool
    is_busy: bool
    idle_seconds: float
    runs: tuple[str, ...]
    done: int
    failed: int
    software: Mapping[str, str]


@dataclass(frozen=True)
class RunningTask:
    """A task that a miner runs. ``seconds`` is how long this attempt has taken."""

    task_id: str
    workflow: WorkflowKey
    miner: str
    attempt: int
    seconds: float
    progress: Mapping[str, Any] | None


@dataclass(frozen=True)
class EndedTask:
    """A task that ended. ``seconds`` is how long it took from its create, ``ago`` how long ago it ended."""

    workflow: WorkflowKey
    task_id: str
    outcome: str
    miner: str | None
    attempts: int
    seconds: float
    ago: float


@dataclass(frozen=True)
class Overview:
    """The miners and tasks. Nothing in it was written by a consumer."""

    miners: tuple[MinerView, ...]
    waiting: Mapping[WorkflowKey, int]
    running: tuple[RunningTask, ...]
    ended: tuple[EndedTask, ...]


class LeaseLost(Exception):  # noqa: N818 - an answer, not a failure of this program
    """The lease gives no right to the task, or no longer does. Its text is "canceled", "timed out" or "lost"."""


class TooManyError(Exception):
    """The owner has as many tasks waiting as it may, or as many miners are here as there may be."""


class NoSuchTaskError(Exception):
    """The owner has no task with this id."""


class NotUploadedError(Exception):
    """What is submitted is not the file that this attempt has uploaded."""


class NameTakenError(Exception):
    """Another process is the miner of this name."""


class NotRegisteredError(Exception):
    """This process of this name has not registered since the sequencer started."""


class StoreError(Exception):
    """The queue's store cannot be read or written now. Nothing was changed.

    ``is_full``: its disk has no room left. ``is_busy``: another program keeps it locked.
    """

    def __init__(self, message: str, *, is_full: bool = False, is_busy: bool = False) -> None:
        super().__init__(message)
        self.is_full = is_full
        self.is_busy = is_busy
