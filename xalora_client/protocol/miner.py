"""The miners' half of the protocol: what ``xalora miner`` and a sequencer send each other, with its limits.

Each call is ``POST {sequencer}/{endpoint}`` with a JSON object, which has the miner's name as ``erc20_address`` and the
sequencer's ``miner_key`` where it expects one. The miner writes requests and reads answers; the sequencer reads
requests and writes answers.

| endpoint | request | answer |
|---|---|---|
| ``miner_register`` | ``instance, workflows, software, left_out`` | ``lease_seconds, long_poll_seconds``; 409: taken |
| ``miner_workflows`` | | ``workflows``: the sequencer's workflow files by name |
| ``miner_request`` | ``workflow_ids, instance, wait_seconds`` | an ``Assignment``, or ``msg``, or ``register: true`` |
| ``miner_busy`` | ``instance, msg``, ``prompt_id`` | ``msg``, or ``register: true`` |
| ``miner_heartbeat`` | ``task_id, lease, wait_seconds``, ``progress`` | ``lease_seconds``, or ``stop``: why |
| ``miner_submit`` | ``task_id, lease, miner_id, success, ...`` | ``msg``; 409: the attempt is over |

``instance`` names the miner's process. ``workflows`` are what it can run: task type, workflow id and parameters, and
for people ``outputs`` (kinds), ``models`` (files) and ``factor`` (of an upscaler), where they are known;
``workflow_ids`` are their ids alone, for other sequencers. ``left_out`` are at most 500 that it has and cannot run:
``task_type, workflow_id``, and as ``msg`` what is missing, which consumers are told. ``wait_seconds`` is how long the
sequencer may wait for a task, or for the end of a lease, before it answers. For ``progress`` see ``read_progress``.

While a miner does not ask for tasks, ``miner_busy`` says why, about once a second: consumers whose tasks wait for it
are told ``msg``. ``prompt_id`` is the prompt that its ComfyUI runs, if that has Xalora nodes. Where each miner that
could run a task has one, the task's answers name them as ``blocked_by``: a node of such a prompt waits for itself.

A submit reports the outcome of an attempt. ``success`` says whether there is a result, ``result`` is the key of the
uploaded file; ``inference_latency`` and ``upload_latency`` are the seconds that the workflow and the upload took.
Where a task has several results, ``results`` are the keys of all, the first of them ``result`` itself.
``msg`` says why it failed or was returned, or is a note on the result for the consumer. ``error`` is the node that
failed: ``node_id``, ``title``, ``class_type``, ``message``. Without one, another miner gets the task once.
``give_back`` returns the task to the queue. A sequencer that does not know its value takes it for a failure, with
``msg`` and ``error``:

| ``give_back`` | what happened | what it costs the task |
|---|---|---|
| "lost" | ComfyUI may have worked on it, and the miner cannot tell how it ended | an attempt |
| "stopping" | ComfyUI did not begin with it, or the miner ends | nothing |
| "died" | its ComfyUI ended while it ran, perhaps because of this task | an attempt; after the second it fails |
| "unable" | this miner cannot run it, another may: no memory, no disk, refused at once | another gets it once |

An assignment has the addresses of its inputs (GET) and of the upload of its result (PUT, answered by ``result``, the
key to submit). Where its ``most_results`` is above 1, the same address takes so many files, one after the other.

The protocol's public miner, ``heurist-network/comfyui-miner-release``, sends ``miner_request`` with ``erc20_address``
and ``workflow_ids``, and ``miner_submit`` without ``lease``, ``give_back`` and ``error``. It reads ``task_id``,
``task_type``, ``workflow_id``, ``task_details`` and ``credential`` of an assignment. All else is ours, in addition.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from ..errors import InvalidParameterError, ResponseError, one_line

LONGEST_NAME = 100
"""Characters of the name of a miner, its process, a task type or a workflow."""

MOST_WORKFLOWS = 500
"""Workflows, or their ids, of one miner."""

LONGEST_MESSAGE = 2000
"""Characters of a miner's message about the outcome of a task."""

REQUEUE_REASONS = ("lost", "stopping", "died", "unable")
"""Why a miner returns a task to the queue."""

LARGEST_PREVIEW = 48_000
"""Bytes of a preview picture: 64 KB as a ``data:`` URI."""

LARGEST_INPUT = 128 * 2**20
"""Bytes of one input."""

LARGEST_RESULT = 2 * 2**30
"""Bytes of all results of one attempt."""

MOST_RESULTS = 64
"""Results of one task."""

LONGEST_TEXT = 4096
"""Characters of an id, a lease or an address in an assignment."""

_MOST_SECONDS = {"seconds_left": 30 * 86_400, "lease_seconds": 3600, "long_poll_seconds": 60}
"""What a sequencer says may be a mistake, or meant to hold a miner up: more counts as this."""

_WORKFLOW_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{LONGEST_NAME}}}")
_PREVIEWS = ("data:image/jpeg;base64,", "data:image/png;base64,", "data:image/webp;base64,")
_LONGEST_PREVIEW_URI = LARGEST_PREVIEW * 4 // 3 + 100


_OUT_OF_MEMORY = ("outofmemory", "out of memory", "memoryerror", "allocation on device", "not enough memory")


def is_out_of_memory(text: str) -> bool:
    """Whether a node failed for too little memory, on the device or beside it, by the words of its exception."""
    return any(sign in text.lower() for sign in _OUT_OF_MEMORY)


@dataclass(frozen=True)
class Input:
    """An input of a task: where its bytes are, and what they are. ``size`` is in bytes, None where it is not known."""

    url: str
    content_type: str
    size: int | None = None


@dataclass(frozen=True)
class Assignment:
    """One attempt at one task, as a miner gets it.

    Attributes:
        task_id: The task.
        task_type: The kind of task.
        workflow_id: Its workflow's id among those of its kind, or None.
        parameters: Its parameters. In place of an input there is only a note.
        inputs: The inputs by parameter.
        prompt_id: A UUID of this attempt alone.
        lease: What proves that this miner holds the task.
        seconds_left: How long the sequencer gives the task from now on, or None.
        upload_url: Where the result goes.
        attempt: 1 for the first.
        lease_seconds: How long the lease lasts without a heartbeat.
        most_results: How many results the sequencer takes.
    """

    task_id: str
    task_type: str
    workflow_id: str | None
    parameters: Mapping[str, Any]
    inputs: Mapping[str, Input]
    prompt_id: str
    lease: str
    seconds_left: float | None
    upload_url: str
    attempt: int = 1
    lease_seconds: float | None = None
    most_results: int = 1

    def to_json(self) -> dict[str, Any]:
        """The answer to ``miner_request``."""
        # Not ``asdict(self)``, which would copy the parameters, however deep they are.
        answer = vars(self) | {"inputs": {name: asdict(file) for name, file in self.inputs.items()}}
        answer["task_details"] = {"parameters": answer.pop("parameters")}
        answer["credential"] = {"upload_url": answer.pop("upload_url")}
        return answer

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Assignment:
        """Read an answer that has a ``task_id``. Raises ResponseError when it is not of the right form."""
        try:
            details = answer["task_details"]
            if isinstance(details, str):  # Old servers send it as JSON text.
                details = json.loads(details)
            return cls(
                task_id=_text(answer["task_id"]),
                task_type=_text(answer["task_type"]),
                workflow_id=None if answer.get("workflow_id") in (None, "") else _text(answer["workflow_id"]),
                parameters=dict((details.get("parameters") or {}).items()),
                inputs={name: _input(file) for name, file in (answer.get("inputs") or {}).items()},
                prompt_id=str(uuid.UUID(_text(answer["prompt_id"]))),  # Becomes a part of ComfyUI's addresses.
                lease=_text(answer["lease"]),
                seconds_left=read_seconds(answer, "seconds_left"),
                upload_url=_text(answer["credential"]["upload_url"]),
                attempt=int(answer.get("attempt") or 1),
                lease_seconds=read_seconds(answer, "lease_seconds"),
                most_results=max(1, min(int(answer.get("most_results") or 1), MOST_RESULTS)),
            )
        except (KeyError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            what = one_line(f"{type(error).__name__}: {error}", 120)
            raise ResponseError(
                f"The sequencer sent a task that cannot be read ({what})",
                task_id=one_line(answer["task_id"], 80) if isinstance(answer.get("task_id"), str) else None,
                advice="Use the same version of xalora for the sequencer and the miner.",
            ) from None


def _input(file: Mapping[str, Any]) -> Input:
    size = file.get("size")
    content_type = _text(file.get("content_type") or "application/octet-stream")
    return Input(_text(file["url"]), content_type, None if size is None else int(size))


def _text(value: object) -> str:
    """An id or an address; some servers count their tasks. Raises ValueError for what is none, or too long."""
    if not isinstance(value, str | int) or len(text := str(value)) > LONGEST_TEXT:
        raise ValueError(f"not a text of at most {LONGEST_TEXT} characters")
    return text


def read_name(body: Mapping[str, Any], field: str = "erc20_address") -> str:
    """The miner's name. Raises InvalidParameterError."""
    name = body.get(field)
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise InvalidParameterError(field, name, f"a name of 1 to {LONGEST_NAME} printable characters")
    return name


def read_instance(body: Mapping[str, Any]) -> str | None:
    """Which process of that name; None for a miner that never registers. Raises InvalidParameterError."""
    instance = body.get("instance")
    if instance is None:
        return None
    if not isinstance(instance, str) or not 1 <= len(instance) <= LONGEST_NAME or not instance.isalnum():
        raise InvalidParameterError("instance", instance, f"1 to {LONGEST_NAME} letters and digits")
    return instance


def read_workflows(body: Mapping[str, Any]) -> list[Any]:
    """The workflows that a miner can run, not checked yet. Raises InvalidParameterError."""
    return _bounded("workflows", body.get("workflows"))


def read_ids(body: Mapping[str, Any]) -> frozenset[str]:
    """The ids of the workflows that a public miner can run. Raises InvalidParameterError."""
    ids = _bounded("workflow_ids", body.get("workflow_ids", []))
    read = [str(value) for value in ids if isinstance(value, str | int) and not isinstance(value, bool)]
    return frozenset(filter(is_name, read))


def _bounded(field: str, value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > MOST_WORKFLOWS:
        raise InvalidParameterError(field, value, f"a list of at most {MOST_WORKFLOWS}")
    return value


def is_name(text: object) -> bool:
    """Whether a text may be a task type or a workflow id: letters, digits, dashes and underscores, at most 100."""
    return isinstance(text, str) and _WORKFLOW_NAME.fullmatch(text) is not None


def read_software(body: Mapping[str, Any]) -> dict[str, str]:
    """What a miner runs on, for people: ``comfyui`` and ``device``."""
    software = body.get("software")
    named = software if isinstance(software, dict) else {}
    return {name: one_line(named[name], 80) for name in ("comfyui", "device") if isinstance(named.get(name), str)}


def left_out_to_json(left_out: Mapping[tuple[str, str | None], str]) -> list[dict[str, str | None]]:
    """The field of a registration, from why a miner cannot run workflows, by task type and workflow id."""
    return [
        {"task_type": task_type, "workflow_id": workflow_id, "msg": one_line(msg)}
        for (task_type, workflow_id), msg in list(left_out.items())[:MOST_WORKFLOWS]
    ]


def read_left_out(body: Mapping[str, Any]) -> dict[tuple[str, str | None], str]:
    """Why a miner cannot run workflows. What makes no sense is left away: it is only shown."""
    left_out = body.get("left_out")
    return {
        (item["task_type"], item.get("workflow_id")): one_line(item["msg"])
        for item in (left_out[:MOST_WORKFLOWS] if isinstance(left_out, list) else [])
        if isinstance(item, dict) and is_name(item.get("task_type")) and isinstance(item.get("msg"), str)
        if item.get("workflow_id") is None or is_name(item["workflow_id"])
    }


def read_progress(progress: object) -> tuple[dict[str, Any], str | None] | None:
    """A heartbeat's progress, as answers show it, and its preview; None where it makes no sense: it is only shown."""
    if not isinstance(progress, dict) or not all(_is_amount(progress.get(name)) for name in ("value", "maximum")):
        return None
    found: dict[str, Any] = {"value": progress["value"], "maximum": progress["maximum"]}
    if isinstance(progress.get("title"), str):
        found["title"] = one_line(progress["title"], LONGEST_NAME)
    preview = progress.get("preview")
    is_good = isinstance(preview, str) and preview.startswith(_PREVIEWS) and len(preview) <= _LONGEST_PREVIEW_URI
    return found, preview if is_good else None


def read_seconds(body: Mapping[str, Any], name: str) -> float | None:
    """A number of seconds, at most as many as make sense for that field; None for what is none."""
    value = body.get(name)
    if not _is_amount(value):
        return None
    value = min(value, _MOST_SECONDS.get(name, value))
    return float(value) if value < 1e9 else None


def read_results(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of what a miner uploaded as a task's results. Raises InvalidParameterError."""
    first = str(body.get("result"))
    keys = body.get("results") or [first]
    if not isinstance(keys, list) or keys[0] != first or len(keys) > MOST_RESULTS or {*map(type, keys)} != {str}:
        raise InvalidParameterError("results", keys, f"a list of at most {MOST_RESULTS} keys, the first as in result")
    return tuple(keys)


def read_remark(body: Mapping[str, Any]) -> str | None:
    """A miner's note on a result, such as that there were more files, or why it returns a task to the queue."""
    msg = body.get("msg")
    return one_line(msg, LONGEST_MESSAGE) or None if isinstance(msg, str) else None


def read_failure(body: Mapping[str, Any]) -> str:
    """Why a workflow failed, as the miner reports it: with the node, its title and ComfyUI's message."""
    msg, error = body.get("msg"), body.get("error")
    reason = msg if isinstance(msg, str) and msg.strip() else ""
    if not reason and isinstance(error, dict):
        parts = [str(error[name]) for name in ("title", "class_type", "message") if isinstance(error.get(name), str)]
        reason = ": ".join(parts)
    return one_line(reason or "the workflow failed on its miner, which did not say why", LONGEST_MESSAGE)


def names_node(body: Mapping[str, Any]) -> bool:
    """Whether a failure is that of a node: then it is the workflow's own, and other miners would fail as well."""
    error = body.get("error")
    return isinstance(error, dict) and isinstance(error.get("node_id"), str) and bool(error["node_id"])


def _is_amount(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300  # False for NaN.
