"""The fingerprint of a task: a hash that is the same for the same work, no matter who asks and how often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidParameterError
from ..protocol.hidden import redact
from ..protocol.inputs import InputImage
from ..protocol.parameters import decode_data_uri, is_data_uri
from ..protocol.requests import Credentials
from ..protocol.tasks import USUAL_WORKFLOWS, WorkflowTask
from ..protocol.urls import unsigned

LONGEST_TEXT = 16_384
"""The most characters of a text that is stored as it is. A longer one is probably data, and stored as its hash."""


@dataclass(frozen=True)
class TaskIdentity:
    """A task as the ledger knows it.

    ``server`` is the sequencer's address, or the lasting name of one whose address changes. ``parameters`` are those
    of the task, with media replaced by ``{"sha256", "bytes", "media_type"}``, very long texts by
    ``{"sha256", "characters"}``, and the key by ``***``.

    ``fingerprint`` is SHA-256, in hex, of server, consumer, task type, workflow id and parameters, with the content of
    media and not their addresses. The key, ``job_id_prefix`` and ``timeout_seconds`` are not part of it.

    ``also`` is that of the same task named otherwise: a task without a workflow id is one with the kind's usual id.
    """

    fingerprint: str
    server: str
    task_type: str
    workflow_id: str | None
    parameters: Any
    also: str | None = None

    @property
    def fingerprints(self) -> list[str]:
        """Both, in an order that is the same for both tasks."""
        return sorted(filter(None, (self.fingerprint, self.also)))

    @classmethod
    def of(cls, server: str, task: WorkflowTask, credentials: Credentials) -> TaskIdentity:
        """Identify a task; ``credentials`` are those it is sent with, ``server`` the sequencer's lasting name.

        Hashes the media in it, which takes a moment for large ones. Raises InvalidParameterError when the task's
        details are not JSON, or an image in them cannot be read.
        """
        details = task.task_details
        workflow_id = task.workflow_id or None
        usual = USUAL_WORKFLOWS.get(task.task_type)
        others = {None: usual, usual: None}
        try:
            readable = _readable(details, credentials.api_key)

            def fingerprint(workflow_id: str | None) -> str:
                identity = [server, credentials.consumer_id, task.task_type, workflow_id, readable]
                canonical = _json(identity, lambda replacement: {"sha256": replacement.sha256})
                return hashlib.sha256(canonical.encode()).hexdigest()

            also = fingerprint(others[workflow_id]) if usual and workflow_id in others else None
            own = fingerprint(workflow_id)
            stored = json.loads(_json(readable, lambda replacement: replacement.stored))
        except InvalidParameterError:  # An image cannot be read.
            raise
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidParameterError("task_details", details, "JSON values with texts as names") from error
        only_parameters = isinstance(stored, dict) and stored.keys() == {"parameters"}
        return cls(
            fingerprint=own,
            also=also,
            server=server,
            task_type=task.task_type,
            workflow_id=workflow_id,
            parameters=stored["parameters"] if only_parameters else stored,
        )


@dataclass(frozen=True)
class _Replacement:
    """Replaces a text that is too large or too private to be stored."""

    sha256: str
    stored: dict[str, Any]


def _json(value: Any, replacement: Callable[[_Replacement], dict[str, Any]]) -> str:
    return json.dumps(value, default=replacement, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _readable(value: Any, secret: str) -> Any:
    """Copy JSON values, with replacements for what must not be stored."""
    match value:
        case str():
            return _readable_text(value, secret)
        case InputImage():
            sha256 = value.sha256()
            return _Replacement(sha256, {"sha256": sha256, "media_type": value.media_type, "name": value.name})
        case dict():
            return {_name(name, secret): _readable(item, secret) for name, item in value.items()}
        case list() | tuple():
            return [_readable(item, secret) for item in value]
        case float() if value.is_integer():
            return int(value)  # 4.0 and 4 are one number in JSON.
        case None | bool() | int() | float():
            return value
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _name(name: Any, secret: str) -> str:
    if not isinstance(name, str):
        raise TypeError("a name is not a string")
    return redact(name, secret)


def _readable_text(text: str, secret: str) -> Any:
    if is_data_uri(text):
        media_type, content = _decoded(text)
        sha256 = hashlib.sha256(content).hexdigest()
        return _Replacement(sha256, {"sha256": sha256, "bytes": len(content), "media_type": media_type})
    text = redact(unsigned(text), secret)
    if len(text) > LONGEST_TEXT:
        sha256 = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return _Replacement(sha256, {"sha256": sha256, "characters": len(text)})
    return text


def _decoded(uri: str) -> tuple[str, bytes]:
    """The media type and bytes of a ``data:`` URI. If it cannot be decoded, its own text counts as the bytes."""
    try:
        media_type, content = decode_data_uri(uri)
    except ValueError:
        media_type, content = "", uri.encode("utf-8", "surrogatepass")
    # Only a plain type is kept: the head is the user's text and may be anything.
    return media_type if len(media_type) <= 100 else "", content
